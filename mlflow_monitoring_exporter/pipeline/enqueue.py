"""Points of series that moved: those that were never queued are queued, with their cursors, in ONE transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.pipeline.queue_writer import ReadSeries, queue_unseen, with_room
from mlflow_monitoring_exporter.pipeline.queues import EnqueueReport, Queue, QueueEvents
from mlflow_monitoring_exporter.pipeline.series_walk import Place, SeriesWalk
from mlflow_monitoring_exporter.pipeline.sync import PollInterruptedError
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Source, Wanted
from mlflow_monitoring_exporter.state.backlog import Backlog, UnqueuedSeries
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.first_loads import FirstLoads
from mlflow_monitoring_exporter.state.partitions import UNDIVIDED
from mlflow_monitoring_exporter.state.queue_id import QueueId, QueueSet

_log = structlog.get_logger(__name__)

#: Points in one transaction: enough that a commit's fsync is cheap per point, little in memory.
_POINTS = 5000
#: A server that answers slowly must not keep what has come from being queued, nor the poll from its end.
_SECONDS = 1.0


@dataclass(slots=True)
class _Pass:
    """One go at what is pending, and how far it came.

    A queue that was full once stays closed for the rest of it: a series of which it missed a part must not
    count as complete. ``wanted`` are the queues that have all of a complete series. What is older than ``since`` says
    for a queue is only remembered. ``only`` one experiment may be meant, of whose series ``done`` out of ``total`` are
    read.
    """

    open: list[Queue]
    wanted: QueueSet
    since: Mapping[QueueId, int]
    until: float | None
    enqueued: dict[str, int]
    only: int | None
    done: int = 0
    total: int = 0
    unfinished: bool = False

    @property
    def open_ids(self) -> QueueSet:
        return QueueSet.of(queue.id for queue in self.open)

    @property
    def active(self) -> QueueSet:
        """The queues for which to go on; empty when there is nothing more to do."""
        return QueueSet() if self.unfinished else self.open_ids

    @property
    def overdue(self) -> bool:
        """Whether time is up while something is left to read."""
        return self.until is not None and time.monotonic() >= self.until and self.done < self.total


class Enqueuer:
    """Moves pending series to the queues. ``history`` false means: of each only its latest point.

    ``divided`` queues have a partition for each experiment, whose points are then never in one batch with others.
    ``servers`` are all tracking servers of the configuration, by identity.
    """

    def __init__(
        self,
        source: Source,
        *,
        database: Database,
        backlog: Backlog,
        queues: Sequence[Queue],
        history: bool,
        events: QueueEvents,
        stop: threading.Event,
        divided: bool = False,
        servers: Sequence[str],
    ) -> None:
        self._source = source
        self._database = database
        self._backlog = backlog
        self._first_loads = FirstLoads(database)
        # In one order everywhere, or two replicas might wait for each other.
        self._queues = tuple(sorted(queues, key=lambda queue: queue.id))
        self._wanted = QueueSet.of(queue.id for queue in queues)
        self._history = history
        self._events = events
        self._stop = stop
        self._divided = divided
        self._servers = servers
        self._places: dict[int | None, Place] = {}

    def expect(self) -> None:
        """Make pending what an exporter misses that was not there before."""
        self._backlog.expect(self._wanted)

    def run(self, *, until: float | None = None) -> EnqueueReport:
        """Read what is pending, until it is all queued, or ``until`` by the monotonic clock."""
        experiments = self._backlog.experiments(self._wanted) if self._divided else [None]
        now = self._pass(self._wanted, until)
        for experiment in experiments:
            self._read(experiment, now)
        if not now.unfinished and (loaded := [queue.id for queue in now.open if queue.id in now.since]):
            self._first_loads.end(loaded, server=self._source.server, servers=self._servers)
        return self._report(now)

    def collect(self, experiment: int, wanted: QueueSet, *, until: float) -> EnqueueReport:
        """The same for one experiment, by its number.

        ``wanted`` are the queues of all exporters that any replica knows, which may be more than this one does.
        """
        now = self._pass(wanted | self._wanted, until, only=experiment)
        self._read(experiment, now)
        return self._report(now)

    def _pass(self, wanted: QueueSet, until: float | None, *, only: int | None = None) -> _Pass:
        enqueued = {queue.name: 0 for queue in self._queues}
        return _Pass(list(self._queues), wanted, self._first_loads.since(), until, enqueued, only)

    def _report(self, now: _Pass) -> EnqueueReport:
        full = tuple(queue.name for queue in self._queues if queue not in now.open)
        return EnqueueReport(now.enqueued, full, now.unfinished)

    def _read(self, experiment: int | None, now: _Pass) -> None:
        walk = SeriesWalk(self._backlog, experiment, self._places.get(experiment, Place()))
        while page := walk.next_page(now.active):
            self._places[experiment] = walk.place  # also when reading fails: other series have their turn first
            now.total = now.total or self._backlog.count(now.only)
            left = self._read_page(self._wanted_by(page, now), experiment or UNDIVIDED, now)
            self._places[experiment] = Place(walk.place.after, left)
        if not now.unfinished:
            self._places.pop(experiment, None)

    def _read_page(self, page: Sequence[UnqueuedSeries], partition: int, now: _Pass) -> Sequence[int]:
        """The series that were left for lack of time, by id.

        Time is only looked at when a series is finished, so that a long one is not begun again and again.
        """
        series = {(item.context.run_id, item.latest.key): item for item in page}
        left = {item.series_id for item in page}
        for chunks in _portions(self._histories(page)):
            self._check_stop()
            with self._database.read() as tx:
                now.open = with_room(tx, now.open)
            if not now.open:
                break
            self._events.read(sum(len(chunk.points) for chunk in chunks))
            for name, count in self._enqueue(_by_series(chunks, series), partition, now).items():
                now.enqueued[name] += count
            self._events.queued()
            finished = [series[chunk.run_id, chunk.key].series_id for chunk in chunks if chunk.complete]
            left.difference_update(finished)
            now.done += len(finished)
            self._events.series(now.done, now.total)
            if finished and now.overdue:
                now.unfinished = True
                break
        return sorted(left) if now.unfinished else ()

    def _wanted_by(self, page: Sequence[UnqueuedSeries], now: _Pass) -> list[UnqueuedSeries]:
        """Those of which any of the queues gets something; the others are complete without being read."""
        read = [item for item in page if any(queue.wants(item) for queue in now.open)]
        if len(read) < len(page):
            chosen = {item.series_id for item in read}
            with self._database.write() as tx:
                others = (item for item in page if item.series_id not in chosen)
                self._backlog.complete(tx, others, now.open_ids, now.wanted)
        return read

    def _histories(self, page: Sequence[UnqueuedSeries]) -> Iterable[HistoryChunk]:
        if self._history:
            return self._source.histories(
                Wanted(item.context.run_id, item.latest.key, item.from_step, item.latest.step) for item in page
            )
        return (HistoryChunk(s.context.run_id, s.latest.key, [s.latest], complete=True) for s in page)

    def _enqueue(self, read: Sequence[ReadSeries], partition: int, now: _Pass) -> Mapping[str, int]:
        """Queue what was never queued before, and remember it, in one transaction; how many samples, by exporter."""
        with self._database.write() as tx:
            self._backlog.hold(tx, [one.item.series_id for one in read])
            count = queue_unseen(tx, read, now.open, now.since, partition=partition)
            self._backlog.complete(tx, [one.item for one in read if one.complete], now.open_ids, now.wanted)
        return count

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise PollInterruptedError


def _by_series(chunks: Sequence[HistoryChunk], series: Mapping[tuple[str, str], UnqueuedSeries]) -> list[ReadSeries]:
    """What the chunks hold of each series that is there, in the order in which the series came."""
    points: dict[tuple[str, str], list[Point]] = {}
    complete: set[tuple[str, str]] = set()
    for chunk in chunks:
        if chunk.missing:
            continue
        which = chunk.run_id, chunk.key
        points.setdefault(which, []).extend(chunk.points)
        if chunk.complete:
            complete.add(which)
    return [ReadSeries(series[which], found, which in complete) for which, found in points.items()]


def _portions(chunks: Iterable[HistoryChunk]) -> Iterator[list[HistoryChunk]]:
    """The chunks in lists of about _POINTS points, or of what came in about _SECONDS."""
    portion: list[HistoryChunk] = []
    size, began = 0, time.monotonic()
    for chunk in chunks:
        portion.append(chunk)
        size += len(chunk.points)
        if size >= _POINTS or time.monotonic() - began >= _SECONDS:
            yield portion
            portion, size, began = [], 0, time.monotonic()
    if portion:
        yield portion
