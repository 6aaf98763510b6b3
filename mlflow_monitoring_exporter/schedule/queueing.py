"""Points of series that moved: those that were never queued are queued, with their cursors, in ONE transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mlflow_monitoring_exporter.model import Sample
from mlflow_monitoring_exporter.schedule.reading import PollInterruptedError
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Source, Wanted
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.pending import Pending, PendingSeries
from mlflow_monitoring_exporter.transform.view import View

_log = structlog.get_logger(__name__)

#: Points in one transaction: enough that a commit's fsync is cheap per point, little in memory.
_POINTS = 5000


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one EVERY exporter, and how many bytes may wait in it."""

    name: str
    bit: int
    batch_size: int
    max_bytes: int
    view: View
    drop_oldest: bool = False
    """When it is full: drop what waits longest, instead of reading no more for it."""


@dataclass(frozen=True, slots=True)
class QueueEvents:
    """Who hears what: samples were queued, so many points were read, so many series are done out of how many."""

    queued: Callable[[], None]
    read: Callable[[int], None]
    series: Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Queued:
    """New samples per exporter; exporters whose queue had no room; whether time was up before all was read."""

    enqueued: Mapping[str, int]
    full: tuple[str, ...]
    unfinished: bool


class Queueing:
    """Moves pending series to the queues. ``history`` false means: of each only its latest point."""

    def __init__(
        self,
        source: Source,
        *,
        database: Database,
        pending: Pending,
        queues: Sequence[Queue],
        history: bool,
        events: QueueEvents,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._database = database
        self._pending = pending
        self._outbox = Outbox(database)
        self._queues = tuple(queues)
        self._wanted = _mask(queues)
        self._history = history
        self._events = events
        self._stop = stop

    def expect(self) -> None:
        """Make pending what an exporter misses that was not there before."""
        self._pending.expect(self._wanted)

    def run(self, *, until: float | None = None) -> Queued:
        """Read what is pending, until it is all queued, or ``until`` by the monotonic clock.

        Time is only looked at when a series is finished, so that a long one is not begun again and
        again. A queue that was full once stays closed for the rest of the poll: a series of which
        it missed a part must not count as complete.
        """
        enqueued = {queue.name: 0 for queue in self._queues}
        since = self._outbox.first_loads()
        is_open = list(self._queues)
        unfinished = False
        after = done = 0
        total: int | None = None
        while is_open and not unfinished and (page := self._pending.next(_mask(is_open), after=after)):
            total = total or self._pending.count()
            after = page[-1].series_id
            page = self._wanted_by(is_open, page)
            series = {(item.context.run_id, item.latest.key): item for item in page}
            for chunks in _portions(self._histories(page)):
                self._check_stop()
                is_open = self._with_room(is_open)
                if not is_open:
                    break
                self._events.read(sum(len(chunk.points) for chunk in chunks))
                for name, count in self._queue_chunks(chunks, series, is_open, since).items():
                    enqueued[name] += count
                self._events.queued()
                done += (finished := sum(chunk.complete for chunk in chunks))
                self._events.series(done, total)
                if finished and until is not None and time.monotonic() >= until and done < total:
                    unfinished = True
                    break
        if not unfinished and (loaded := [queue.bit for queue in is_open if queue.bit in since]):
            self._outbox.loaded(loaded)
        return Queued(enqueued, tuple(queue.name for queue in self._queues if queue not in is_open), unfinished)

    def _wanted_by(self, queues: Sequence[Queue], page: Sequence[PendingSeries]) -> list[PendingSeries]:
        """Those of which any of the queues gets something; the others are complete without being read."""
        wanted = [item for item in page if any(_wants(queue, item) for queue in queues)]
        if len(wanted) < len(page):
            chosen = {item.series_id for item in wanted}
            with self._database.write() as tx:
                others = (item for item in page if item.series_id not in chosen)
                self._pending.complete(tx, others, _mask(queues), self._wanted)
        return wanted

    def _with_room(self, queues: Sequence[Queue]) -> list[Queue]:
        with self._database.read() as tx:
            return [q for q in queues if q.drop_oldest or Outbox.waiting_bytes(tx, q.bit) < q.max_bytes]

    def _histories(self, page: Sequence[PendingSeries]) -> Iterable[HistoryChunk]:
        if self._history:
            return self._source.histories(
                Wanted(item.context.run_id, item.latest.key, item.from_step, item.latest.step) for item in page
            )
        return (HistoryChunk(s.context.run_id, s.latest.key, [s.latest], complete=True) for s in page)

    def _queue_chunks(
        self,
        chunks: Sequence[HistoryChunk],
        series: Mapping[tuple[str, str], PendingSeries],
        queues: Sequence[Queue],
        since: Mapping[int, int],
    ) -> Mapping[str, int]:
        """Queue what was never queued before, and remember it, in one transaction.

        What is older than ``since`` says for an exporter is only remembered.
        """
        samples: dict[int, list[Sample]] = {queue.bit: [] for queue in queues}
        views = {queue.bit: queue.view for queue in queues}
        finished: list[PendingSeries] = []
        with self._database.write() as tx:
            there = [chunk for chunk in chunks if not chunk.missing]
            read = []
            for chunk in there:
                item = series[chunk.run_id, chunk.key]
                read.append((item.series_id, chunk.points, [queue.bit for queue in queues if _wants(queue, item)]))
            for chunk, fresh in zip(there, self._pending.unseen(tx, read), strict=True):
                item = series[chunk.run_id, chunk.key]
                length = item.latest.step - (item.from_step or 0) + 1
                for bit, points in fresh.items():
                    wanted = [p for p in points if p.timestamp_ms >= since[bit]] if bit in since else points
                    samples[bit].extend(views[bit].samples(item.context, wanted, of=length))
                if chunk.complete:
                    finished.append(item)
            self._pending.complete(tx, finished, _mask(queues), self._wanted)
            for queue in queues:
                Outbox.enqueue(tx, queue.bit, samples[queue.bit], batch_size=queue.batch_size)
                excess = Outbox.waiting_bytes(tx, queue.bit) - queue.max_bytes
                if queue.drop_oldest and excess > 0:
                    dropped = Outbox.drop_oldest(tx, queue.bit, excess)
                    _log.warning("queue is full: dropped the oldest samples", exporter=queue.name, samples=dropped)
        return {queue.name: len(samples[queue.bit]) for queue in queues}

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise PollInterruptedError


def _wants(queue: Queue, item: PendingSeries) -> bool:
    return queue.view.wants(item.context.experiment_name, item.latest.key)


def _mask(queues: Iterable[Queue]) -> int:
    return sum(1 << queue.bit for queue in queues)


def _portions(chunks: Iterable[HistoryChunk]) -> Iterator[list[HistoryChunk]]:
    """The chunks in lists of about _POINTS points."""
    portion: list[HistoryChunk] = []
    size = 0
    for chunk in chunks:
        portion.append(chunk)
        size += len(chunk.points)
        if size >= _POINTS:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
