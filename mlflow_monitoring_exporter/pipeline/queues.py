"""The queues of a poll: who gets samples, who hears of it, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mlflow_monitoring_exporter.state.backlog import UnqueuedSeries
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.transform.projection import SampleProjection


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one EVERY exporter, and how many bytes may wait in it."""

    name: str
    id: QueueId
    batch_size: int
    max_bytes: int
    view: SampleProjection
    drop_oldest: bool = False
    """When it is full: drop what waits longest, instead of reading no more for it."""

    def wants(self, item: UnqueuedSeries) -> bool:
        """Whether its exporter gets anything of this series."""
        return self.view.wants(item.context.experiment_name, item.latest.key)


@dataclass(frozen=True, slots=True)
class QueueEvents:
    """Who hears what: samples were queued, so many points were read, so many series are done out of how many."""

    queued: Callable[[], None]
    read: Callable[[int], None]
    series: Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EnqueueReport:
    """New samples per exporter; exporters whose queue had no room; whether time was up before all was read."""

    enqueued: Mapping[str, int]
    full: tuple[str, ...]
    unfinished: bool


class Histories(Protocol):
    """Whoever sees to it that the points of series that moved are queued."""

    def expect(self) -> None:
        """Make pending what an exporter misses that was not there before."""
        ...

    def run(self, *, until: float | None = None) -> EnqueueReport:
        """Queue what is pending, or have it queued; until then at most, by the monotonic clock."""
        ...
