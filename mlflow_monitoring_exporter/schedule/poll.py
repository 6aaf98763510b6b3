"""What does one poll do?

::

    experiments -> the newest k -> their runs, page by page -> mirror
                                                                 |
                        gauges of all runs: published  <---------+
                                                                 |
        points of series that moved -> not seen before -> queued with their cursors, ONE transaction

A poll that fails in the middle shows nothing and forgets nothing: what it recorded is only used
once all runs were read, and what it queued stays queued.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mlflow_monitoring_exporter.config.schema import ExportConfig
from mlflow_monitoring_exporter.model import Experiment, Run, Sample, Snapshot
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Source
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirror import Mirror, Selected, Stale
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.transform.gauges import build_snapshot, model_stage
from mlflow_monitoring_exporter.transform.samples import to_samples
from mlflow_monitoring_exporter.transform.select import Selection

_log = structlog.get_logger(__name__)

#: Points in one transaction: enough that a commit's fsync is cheap per point, little in memory.
_POINTS = 5000


class PollInterruptedError(Exception):
    """The daemon is stopping; nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue of one EVERY exporter, and how many bytes may wait in it."""

    name: str
    bit: int
    batch_size: int
    max_bytes: int
    drop_oldest: bool = False
    """When it is full: drop what waits longest, instead of reading no more for it."""


@dataclass(frozen=True, slots=True)
class PollReport:
    """What a whole poll found.

    ``enqueued`` counts new samples per exporter; ``full`` names exporters whose queue had no room, so
    that points were left in MLflow for a later poll.
    """

    experiments: int
    runs: int
    gone: int
    series: int
    enqueued: Mapping[str, int]
    full: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class PollEvents:
    """Who hears what, while a poll runs."""

    published: Callable[[Snapshot], None]
    queued: Callable[[], None]
    read: Callable[[int], None]


class Poller:
    """Polls one MLflow. Used by one thread at a time."""

    def __init__(
        self,
        source: Source,
        config: ExportConfig,
        *,
        database: Database,
        queues: Sequence[Queue],
        events: PollEvents,
        stop: threading.Event,
    ) -> None:
        self._source = source
        self._config = config
        self._selection = Selection(config)
        self._database = database
        self._mirror = Mirror(database, source.server)
        self._queues = tuple(queues)
        self._outbox = Outbox(database)
        self._events = events
        self._stop = stop

    def run(self, *, complete: bool) -> PollReport:
        """Read what changed; with ``complete`` look for points that were logged late, too.

        Raises SourceError, StateError, or PollInterruptedError once the daemon stops.
        """
        started = time.monotonic()
        self._database.check_file()
        poll = self._mirror.begin_poll(complete=complete)
        experiments = self._experiments()
        runs = 0
        for page in self._pages(experiments):
            self._mirror.record(page, poll)
            runs += len(page)
        gone = self._mirror.end_poll(poll, experiments.values())
        snapshot = build_snapshot(self._mirror.runs(), empty=experiments)
        self._events.published(snapshot)
        enqueued, full = self._queue_points()
        return PollReport(
            experiments=len(experiments),
            runs=runs,
            gone=gone,
            series=snapshot.series_count,
            enqueued=enqueued,
            full=full,
            seconds=time.monotonic() - started,
        )

    def _experiments(self) -> dict[str, Experiment]:
        """The selected experiments, by id."""
        found = {e.experiment_id: e for e in self._source.experiments() if self._selection.experiment(e.name)}
        limit = self._config.max_experiments or len(found)
        return {experiment_id: found[experiment_id] for experiment_id in self._source.newest_active(list(found), limit)}

    def _pages(self, experiments: Mapping[str, Experiment]) -> Iterator[list[Selected]]:
        if not experiments:
            return
        stages = self._source.stages()
        for page in self._source.runs(list(experiments)):
            self._check_stop()
            yield [self._select(run, stages.get(run.run_id)) for run in page]

    def _select(self, run: Run, stage: str | None) -> Selected:
        return Selected(
            run,
            self._selection.tags(run.tags),
            model_stage(stage, run.tags),
            tuple(point for point in run.latest if self._selection.metric(point.key)),
        )

    def _queue_points(self) -> tuple[dict[str, int], tuple[str, ...]]:
        """New samples per exporter, and the exporters whose queue is full.

        A queue that was full once stays closed for the rest of the poll: a series of which it
        missed a part must not count as complete.
        """
        enqueued = {queue.name: 0 for queue in self._queues}
        since = self._outbox.first_loads()
        is_open = list(self._queues)
        after = 0
        while is_open and (page := self._mirror.stale(_mask(is_open), after=after)):
            after = page[-1].series_id
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
        if finished := [queue.bit for queue in is_open if queue.bit in since]:
            self._outbox.loaded(finished)
        return enqueued, tuple(queue.name for queue in self._queues if queue not in is_open)

    def _with_room(self, queues: Sequence[Queue]) -> list[Queue]:
        with self._database.read() as tx:
            return [q for q in queues if q.drop_oldest or Outbox.waiting_bytes(tx, q.bit) < q.max_bytes]

    def _histories(self, page: Sequence[Stale]) -> Iterable[HistoryChunk]:
        if self._config.history:
            return self._source.histories((item.context.run_id, item.latest.key) for item in page)
        return (HistoryChunk(s.context.run_id, s.latest.key, [s.latest], complete=True) for s in page)

    def _queue_chunks(
        self,
        chunks: Sequence[HistoryChunk],
        series: Mapping[tuple[str, str], Stale],
        queues: Sequence[Queue],
        since: Mapping[int, int],
    ) -> Mapping[str, int]:
        """Queue what was never queued before, and remember it, in one transaction.

        What is older than ``since`` says for an exporter is only remembered.
        """
        bits = [queue.bit for queue in queues]
        samples: dict[int, list[Sample]] = {bit: [] for bit in bits}
        finished: list[Stale] = []
        with self._database.write() as tx:
            for chunk in chunks:
                item = series[chunk.run_id, chunk.key]
                if chunk.missing:
                    _log.debug("run disappeared while it was read", run_id=chunk.run_id)
                    continue
                for bit, points in self._mirror.unseen(tx, item.series_id, chunk.points, bits).items():
                    wanted = [p for p in points if p.timestamp_ms >= since[bit]] if bit in since else points
                    samples[bit].extend(to_samples(item.context, wanted))
                if chunk.complete:
                    finished.append(item)
            self._mirror.complete(tx, finished, _mask(queues))
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
