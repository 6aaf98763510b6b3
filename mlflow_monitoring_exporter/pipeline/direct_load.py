"""A load of runs that are new: their points are queued in the transaction that records them.

::

    page of runs -> points of those that are new     (read ahead, on another thread)
                      |
                      v
    runs, series that are complete already, what was seen, batches: ONE transaction

Only where histories cost no more than the runs do (:attr:`Source.near`), and where one process has the state for
itself. Everything else becomes pending as ever, and is read by the enqueuer: series of long histories, runs below one
that is not known yet, all when a queue is full. Else half of a first load would be to read back what was just written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from mlflow_monitoring_exporter.core.errors import SourceError
from mlflow_monitoring_exporter.core.values import Point, Run
from mlflow_monitoring_exporter.pipeline.queue_writer import ReadSeries, queue_unseen, with_room
from mlflow_monitoring_exporter.pipeline.queues import Queue, QueueEvents
from mlflow_monitoring_exporter.source.protocol import RunPage, Source, Wanted
from mlflow_monitoring_exporter.state.backlog import UnqueuedSeries
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.first_loads import FirstLoads
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.state.run_changes import Selected
from mlflow_monitoring_exporter.state.run_contexts import new_contexts
from mlflow_monitoring_exporter.state.series_changes import QueuedAtOnce

_log = structlog.get_logger(__name__)

#: Points of one page that are in memory at once.
_POINTS = 40_000
#: Of one of them in a queue, more or less.
_BYTES = 80

Points = Mapping[str, Mapping[str, Sequence[Point]]]
"""All points of series, by run id and key."""


@dataclass(frozen=True, slots=True)
class LoadedPage:
    """A page of runs as they are exported, and the points of those of their series that can be queued at once."""

    runs: Sequence[Selected]
    points: Points
    position: str | None


class DirectLoad:
    """Queues the points of new runs; ``queues`` are all that there are. ``history`` False means: the latest of each."""

    def __init__(
        self,
        source: Source,
        *,
        database: Database,
        mirror: Mirror,
        queues: Sequence[Queue],
        history: bool,
        events: QueueEvents,
    ) -> None:
        self._source = source
        self._database = database
        self._mirror = mirror
        self._queues = tuple(sorted(queues, key=lambda queue: queue.id))
        self._history = history
        self._events = events
        self._first_loads = FirstLoads(database)
        self._possible = bool(queues) and not database.divided and (source.near or not history)

    def pages(
        self, pages: Iterable[RunPage], select: Callable[[Sequence[Run]], Sequence[Selected]], names: Mapping[str, str]
    ) -> Iterator[LoadedPage]:
        """Each page with the points of its new runs; ``names`` are those of their experiments."""
        possible = self._possible
        for page in pages:
            selected = select(page.runs)
            points: Points = {}
            if possible:
                try:
                    points = self._points(selected, names)
                except SourceError as error:
                    # What is wrong with a history is no reason not to show the runs: it is read after them.
                    possible = False
                    _log.warning("histories cannot be read beside the runs; reading them afterwards", reason=str(error))
            yield LoadedPage(selected, points, page.position)

    def record(
        self, tx: Connection, page: LoadedPage, met_in: int, names: Mapping[str, str]
    ) -> tuple[list[str], Mapping[str, int]]:
        """Take over a page that was met in the load ``met_in``: the runs that changed; new samples by exporter."""
        size = _BYTES * sum(len(points) for series in page.points.values() for points in series.values())
        if not page.points or len(with_room(tx, self._queues, size)) < len(self._queues):
            return self._mirror.record(tx, page.runs, met_in, count=True), {}
        new = [(one.run, one.tags) for one in page.runs if one.run.run_id in page.points]
        contexts = new_contexts(tx, self._mirror, new, names)
        keys = {run_id: page.points[run_id].keys() for run_id in contexts}
        at_once = QueuedAtOnce(keys, QueueSet.of(queue.id for queue in self._queues))
        moved = self._mirror.record(tx, page.runs, met_in, count=True, at_once=at_once)
        read = [
            ReadSeries(UnqueuedSeries(series_id, contexts[one.run.run_id], latest, None, 0), points, complete=True)
            for one in page.runs
            for latest in one.latest
            if (series_id := at_once.series.get((one.run.run_id, latest.key))) is not None
            and (points := page.points[one.run.run_id][latest.key])
        ]
        return moved, queue_unseen(tx, read, self._queues, self._first_loads.since(), fresh=True)

    def committed(self, queued: Mapping[str, int]) -> None:
        """What :meth:`record` queued is committed: wake the workers."""
        if any(queued.values()):
            self._events.queued()

    def _points(self, page: Sequence[Selected], names: Mapping[str, str]) -> Points:
        """Of series of new runs, as far as they are whole within the bound; none of those that no exporter wants."""
        with self._database.read() as tx:
            known = self._mirror.known(tx, [one.run.run_id for one in page])
        # An answer may hold runs of experiments that were not asked for.
        new = [one for one in page if one.run.run_id not in known and one.run.experiment_id in names]
        once: Mapping[str, int] = {}
        if self._history:
            once = self._source.logged_once([one.run.run_id for one in new])
        found: dict[str, dict[str, Sequence[Point]]] = {one.run.run_id: {} for one in new}
        wanted: list[Wanted] = []
        size = 0
        for one in new:
            run_id, experiment, its = one.run.run_id, names[one.run.experiment_id], found[one.run.run_id]
            known_whole = not self._history or once.get(run_id) == len(one.run.latest)
            for latest in one.latest:
                if not any(queue.view.wants(experiment, latest.key) for queue in self._queues):
                    its[latest.key] = ()
                elif known_whole:
                    its[latest.key] = (latest,)
                    size += 1
                else:
                    wanted.append(Wanted(run_id, latest.key, None, latest.step))
        begun: dict[tuple[str, str], list[Point]] = {}
        for chunk in self._source.histories(wanted) if wanted else ():
            size += len(chunk.points)
            if not chunk.missing:
                points = begun.setdefault((chunk.run_id, chunk.key), [])
                points.extend(chunk.points)
                if chunk.complete:
                    found[chunk.run_id][chunk.key] = points
            if size >= _POINTS:
                break
        self._events.read(size)
        return {run_id: series for run_id, series in found.items() if series}
