"""Once around all pending series, from where the last walk ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.state.backlog import Backlog, UnqueuedSeries
from mlflow_monitoring_exporter.state.queue_id import QueueSet


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next walk begins: behind a series, by id, once those that are ``left`` have had their turn.

    Else a run whose series all move between two polls would be read again and again, and no other.
    """

    after: int = 0
    left: Sequence[int] = ()


class SeriesWalk:
    """One walk over the pending series of one ``experiment``, by its number, or of all.

    ``place`` is where the next one begins if this one goes no further.
    """

    def __init__(self, backlog: Backlog, experiment: int | None, begin: Place) -> None:
        self.place = begin
        self._backlog = backlog
        self._experiment = experiment
        self._legs = [(begin.after, None), (0, begin.after)]

    def next_page(self, active: QueueSet) -> list[UnqueuedSeries]:
        """Go on to the next series that one of the queues ``active`` misses something of; empty at the end."""
        if not active:
            return []
        if left := self.place.left:
            self.place = Place(self.place.after)
            if page := self._backlog.next(active, only=left, experiment=self._experiment):
                return page
        while self._legs:
            after, until = self._legs[0]
            if page := self._backlog.next(active, after=after, until=until, experiment=self._experiment):
                reached = page[-1].series_id
                self._legs[0] = (reached, until)
                self.place = Place(reached)
                return page
            self._legs.pop(0)
        return []
