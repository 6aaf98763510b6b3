"""Points of series that moved: those that were never queued are queued, with their cursors, in ONE transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from mlflow_monitoring_exporter.core.values import Sample
from mlflow_monitoring_exporter.pipeline.sync import PollInterruptedError
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Source, Wanted
from mlflow_monitoring_exporter.state.backlog import Backlog, UnqueuedSeries
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.partitions import UNDIVIDED
from mlflow_monitoring_exporter.transform.projection import SampleProjection

_log = structlog.get_logger(__name__)

#: Points in one transaction: enough that a commit's fsync is cheap per point, little in memory.
_POINTS = 5000
#: A server that answers slowly must not keep what has come from being queued, nor the poll from its end.
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one EVERY exporter, and how many bytes may wait in it."""

    name: str
    bit: int
    batch_size: int
    max_bytes: int
    view: SampleProjection
    drop_oldest: bool = False
    """When it is full: drop what waits longest, instead of reading no more for it."""


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


@dataclass(slots=True)
class _Pass:
    """One go at what is pending, and how far it came.

    A queue that was full once stays closed for the rest of it: a series of which it missed a part must not
    count as complete. ``wanted`` are the bits that a complete series has. What is older than ``since`` says for
    an exporter is only remembered. ``only`` one experiment may be meant, of whose series ``done`` out of ``total`` are
    read.
    """

    open: list[Queue]
    wanted: int
    since: Mapping[int, int]
    until: float | None
    enqueued: dict[str, int]
    only: int | None
    done: int = 0
    total: int = 0
    unfinished: bool = False

    @property
    def active(self) -> int:
        """The bits for which to go on; 0 when there is nothing more to do."""
        return 0 if self.unfinished else mask(self.open)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to go on next time: behind a series, by id, once those that are ``left`` have had their turn.

    Else a run whose series all move between two polls would be read again and again, and no other.
    """

    after: int = 0
    left: Sequence[int] = ()


class Histories(Protocol):
    """Whoever sees to it that the points of series that moved are queued."""

    def expect(self) -> None:
        """Make pending what an exporter misses that was not there before."""
        ...

    def run(self, *, until: float | None = None) -> EnqueueReport:
        """Queue what is pending, or have it queued; until then at most, by the monotonic clock."""
        ...


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
        self._outbox = Outbox(database)
        # In one order everywhere, or two replicas might wait for each other.
        self._queues = tuple(sorted(queues, key=lambda queue: queue.bit))
        self._wanted = mask(queues)
        self._history = history
        self._events = events
        self._stop = stop
        self._divided = divided
        self._servers = servers
        self._places: dict[int | None, _Place] = {}

    def expect(self) -> None:
        """Make pending what an exporter misses that was not there before."""
        self._backlog.expect(self._wanted)

    def run(self, *, until: float | None = None) -> EnqueueReport:
        """Read what is pending, until it is all queued, or ``until`` by the monotonic clock."""
        experiments = self._backlog.experiments(self._wanted) if self._divided else [None]
        now = self._pass(self._wanted, until)
        for experiment in experiments:
            self._read(experiment, now)
        if not now.unfinished and (loaded := [queue.bit for queue in now.open if queue.bit in now.since]):
            self._outbox.loaded(loaded, server=self._source.server, servers=self._servers)
        return self._queued(now)

    def collect(self, experiment: int, wanted: int, *, until: float) -> EnqueueReport:
        """The same for one experiment, by its number.

        ``wanted`` are the bits of all exporters that any replica knows, which may be more than this one does.
        """
        now = self._pass(wanted | self._wanted, until, only=experiment)
        self._read(experiment, now)
        return self._queued(now)

    def _pass(self, wanted: int, until: float | None, *, only: int | None = None) -> _Pass:
        enqueued = {queue.name: 0 for queue in self._queues}
        return _Pass(list(self._queues), wanted, self._outbox.first_loads(), until, enqueued, only)

    def _queued(self, now: _Pass) -> EnqueueReport:
        full = tuple(queue.name for queue in self._queues if queue not in now.open)
        return EnqueueReport(now.enqueued, full, now.unfinished)

    def _read(self, experiment: int | None, now: _Pass) -> None:
        for page in self._turn(experiment, now):
            now.total = now.total or self._backlog.count(now.only)
            left = self._read_page(self._wanted_by(page, now), experiment or UNDIVIDED, now)
            self._places[experiment] = _Place(self._places[experiment].after, left)
        if not now.unfinished:
            self._places.pop(experiment, None)

    def _turn(self, experiment: int | None, now: _Pass) -> Iterator[list[UnqueuedSeries]]:
        """All pending series in pages, once around from where the last go stopped: first what it left of its page."""
        place = self._places.get(experiment, _Place())
        if place.left:
            self._places[experiment] = _Place(place.after)
            if page := self._backlog.next(now.active, only=place.left, experiment=experiment):
                yield page
        for after, until in ((place.after, None), (0, place.after)):
            reached = after
            while now.active and (
                page := self._backlog.next(now.active, after=reached, until=until, experiment=experiment)
            ):
                reached = page[-1].series_id
                self._places[experiment] = _Place(reached)
                yield page

    def _read_page(self, page: Sequence[UnqueuedSeries], partition: int, now: _Pass) -> Sequence[int]:
        """The series that were left for lack of time, by id.

        Time is only looked at when a series is finished, so that a long one is not begun again and again.
        """
        series = {(item.context.run_id, item.latest.key): item for item in page}
        left = {item.series_id for item in page}
        for chunks in _portions(self._histories(page)):
            self._check_stop()
            now.open = self._with_room(now.open)
            if not now.open:
                break
            self._events.read(sum(len(chunk.points) for chunk in chunks))
            for name, count in self._queue_chunks(chunks, series, partition, now).items():
                now.enqueued[name] += count
            self._events.queued()
            finished = [series[chunk.run_id, chunk.key].series_id for chunk in chunks if chunk.complete]
            left.difference_update(finished)
            now.done += len(finished)
            self._events.series(now.done, now.total)
            if finished and now.until is not None and time.monotonic() >= now.until and now.done < now.total:
                now.unfinished = True
                break
        return sorted(left) if now.unfinished else ()

    def _wanted_by(self, page: Sequence[UnqueuedSeries], now: _Pass) -> list[UnqueuedSeries]:
        """Those of which any of the queues gets something; the others are complete without being read."""
        read = [item for item in page if any(_wants(queue, item) for queue in now.open)]
        if len(read) < len(page):
            chosen = {item.series_id for item in read}
            with self._database.write() as tx:
                others = (item for item in page if item.series_id not in chosen)
                self._backlog.complete(tx, others, mask(now.open), now.wanted)
        return read

    def _with_room(self, queues: Sequence[Queue]) -> list[Queue]:
        with self._database.read() as tx:
            return [q for q in queues if q.drop_oldest or Outbox.waiting_bytes(tx, q.bit) < q.max_bytes]

    def _histories(self, page: Sequence[UnqueuedSeries]) -> Iterable[HistoryChunk]:
        if self._history:
            return self._source.histories(
                Wanted(item.context.run_id, item.latest.key, item.from_step, item.latest.step) for item in page
            )
        return (HistoryChunk(s.context.run_id, s.latest.key, [s.latest], complete=True) for s in page)

    def _queue_chunks(
        self,
        chunks: Sequence[HistoryChunk],
        series: Mapping[tuple[str, str], UnqueuedSeries],
        partition: int,
        now: _Pass,
    ) -> Mapping[str, int]:
        """Queue what was never queued before, and remember it, in one transaction."""
        queues, since = now.open, now.since
        samples: dict[int, list[Sample]] = {queue.bit: [] for queue in queues}
        views = {queue.bit: queue.view for queue in queues}
        finished: list[UnqueuedSeries] = []
        with self._database.write() as tx:
            there = [chunk for chunk in chunks if not chunk.missing]
            self._backlog.hold(tx, {series[chunk.run_id, chunk.key].series_id for chunk in there})
            read = []
            for chunk in there:
                item = series[chunk.run_id, chunk.key]
                read.append((item.series_id, chunk.points, [queue.bit for queue in queues if _wants(queue, item)]))
            for chunk, fresh in zip(there, self._backlog.unseen(tx, read), strict=True):
                item = series[chunk.run_id, chunk.key]
                length = item.latest.step - (item.from_step or 0) + 1
                for bit, points in fresh.items():
                    wanted = [p for p in points if p.timestamp_ms >= since[bit]] if bit in since else points
                    samples[bit].extend(views[bit].samples(item.context, wanted, of=length))
                if chunk.complete:
                    finished.append(item)
            self._backlog.complete(tx, finished, mask(queues), now.wanted)
            for queue in queues:
                Outbox.enqueue(tx, queue.bit, samples[queue.bit], batch_size=queue.batch_size, partition=partition)
                excess = Outbox.waiting_bytes(tx, queue.bit) - queue.max_bytes
                if queue.drop_oldest and excess > 0:
                    dropped = Outbox.drop_oldest(tx, queue.bit, excess)
                    _log.warning("queue full; dropped oldest samples", exporter=queue.name, samples=dropped)
        return {queue.name: len(samples[queue.bit]) for queue in queues}

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise PollInterruptedError


def _wants(queue: Queue, item: UnqueuedSeries) -> bool:
    return queue.view.wants(item.context.experiment_name, item.latest.key)


def mask(queues: Iterable[Queue]) -> int:
    """Their bits."""
    return sum(1 << queue.bit for queue in queues)


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
