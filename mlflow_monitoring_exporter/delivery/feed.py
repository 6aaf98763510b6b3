"""What does a worker deliver next?

Two answers behind one protocol: the oldest batch of a durable queue, or the newest snapshot.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_monitoring_exporter.model import Batch, Snapshot
from mlflow_monitoring_exporter.state.outbox import Outbox, QueuedBatch, Refusal


@dataclass(frozen=True, slots=True)
class Item:
    """One payload; ``place`` is how its feed knows it again, ``size`` its samples or series."""

    payload: Batch | Snapshot
    place: Any
    size: int


class Feed(Protocol):
    """Where payloads wait for one exporter. Raises StateError when durable state cannot be used."""

    durable: bool
    """Whether what waits outlives the process."""

    def head(self) -> Item | None:
        """What is to be delivered next; it stays where it is."""
        ...

    def acknowledge(self, item: Item) -> None:
        """The platform has it."""
        ...

    def set_aside(self, item: Item, refusals: Mapping[Refusal, Sequence[int]]) -> None:
        """The platform will never take the samples at these indexes; it has the others."""
        ...


class QueueFeed:
    """Every batch in order, from the outbox."""

    durable = True

    def __init__(self, outbox: Outbox, bit: int) -> None:
        self._outbox = outbox
        self._bit = bit

    def head(self) -> Item | None:
        queued = self._outbox.head(self._bit)
        return None if queued is None else Item(queued.batch, queued, len(queued.batch.samples))

    def acknowledge(self, item: Item) -> None:
        self._outbox.acknowledge(self._queued(item))

    def set_aside(self, item: Item, refusals: Mapping[Refusal, Sequence[int]]) -> None:
        self._outbox.set_aside(self._queued(item), refusals)

    @staticmethod
    def _queued(item: Item) -> QueuedBatch:
        queued: QueuedBatch = item.place
        return queued


class LatestFeed:
    """Only the newest snapshot: a newer one supersedes whatever still waits.

    ``view`` says what of it the exporter gets.
    """

    durable = False

    def __init__(self, view: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._waiting: Snapshot | None = None

    def put(self, snapshot: Snapshot) -> None:
        seen = self._view(snapshot)
        with self._lock:
            self._waiting = seen

    def head(self) -> Item | None:
        snapshot = self._waiting
        return None if snapshot is None else Item(snapshot, snapshot, snapshot.series_count)

    def acknowledge(self, item: Item) -> None:
        with self._lock:
            if self._waiting is item.place:
                self._waiting = None

    def set_aside(self, item: Item, refusals: Mapping[Refusal, Sequence[int]]) -> None:  # noqa: ARG002
        """A refused snapshot is not kept: the next one says the same, and more."""
        self.acknowledge(item)
