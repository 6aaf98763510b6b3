"""What does one poll do?

::

    MLflow -> what changed -> mirror            (schedule/reading.py)
                                |
       gauges of all runs, built when one differs: published
                                |
    points of series that moved -> queued       (schedule/queueing.py)

A poll that fails in the middle shows nothing and forgets nothing: what it recorded is shown by the
next whole one, and what it queued stays queued.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.config.schema import ExportConfig, GaugesConfig
from mlflow_monitoring_exporter.model import Demand, Snapshot
from mlflow_monitoring_exporter.schedule.dispatch import Dispatch, HandOut
from mlflow_monitoring_exporter.schedule.queueing import Histories, Queue, QueueEvents, Queueing, mask
from mlflow_monitoring_exporter.schedule.reading import Found, Reading
from mlflow_monitoring_exporter.schedule.showing import Showing
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.latest import Latest
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.pending import Pending
from mlflow_monitoring_exporter.transform.direction import Verdict
from mlflow_monitoring_exporter.transform.labels import AddedLabels

#: How many times as long as counting took it is not done again, unless it took less than _CHEAP seconds.
_COUNTING = 20
_CHEAP = 0.05

#: The part of an interval after which a poll leaves the rest of the histories to the next one.
_READING = 0.8


@dataclass(frozen=True, slots=True)
class PollReport:
    """What a whole poll of ``server`` found.

    ``runs`` and ``series`` are there now, or were when they were last counted, whether or not this poll
    read them; ``gone`` are runs that are not there any more. ``shown`` counts the series of the snapshot
    (None when nobody shows gauges), ``left_out`` those that are missing in it, by reason, and ``most`` who wants most
    while there is no room for some; ``renewed`` says that it is another snapshot than the one before.
    ``enqueued`` counts new samples per exporter; ``full`` names exporters whose queue had no room, so that points
    were left in MLflow for a later poll. ``unfinished`` says that some were left because reading them would have
    kept the next poll, and the gauges, waiting.
    """

    experiments: int
    runs: int
    gone: int
    series: int
    enqueued: Mapping[str, int]
    full: tuple[str, ...]
    seconds: float
    unfinished: bool = False
    shown: int | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    most: tuple[Demand, ...] = ()
    renewed: bool = False
    server: str = ""


def _nobody(*_: object) -> None:
    """Hears of everything, and does nothing about it."""


@dataclass(frozen=True, slots=True)
class PollEvents:
    """Who hears what, while a poll runs.

    ``published`` gets all gauges, the same object as before when none of them differs; None when
    nobody shows gauges, which saves making them. ``read`` counts points, ``behind`` experiments that others
    are to read points of. ``loading`` hears how many
    runs were read so far, and ``sending`` of how many series the points were read, out of how many.
    """

    published: Callable[[Snapshot], None] | None = None
    queued: Callable[[], None] = _nobody
    read: Callable[[int], None] = _nobody
    loading: Callable[[int], None] = _nobody
    sending: Callable[[int, int], None] = _nobody
    behind: Callable[[int], None] = _nobody


class Poller:
    """Polls one MLflow, of ``servers`` by identity; by default the only one. Used by one thread at a time.

    ``clock`` gives the time in Unix seconds. With ``hand_out`` the points of series that moved are not read here,
    but by whoever takes the jobs; and what the replica before showed is shown before MLflow is asked, which may be
    away.
    """

    def __init__(
        self,
        source: Source,
        config: ExportConfig,
        *,
        gauges: GaugesConfig | None = None,
        database: Database,
        queues: Sequence[Queue],
        events: PollEvents,
        stop: threading.Event,
        hand_out: HandOut | None = None,
        servers: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._interval = config.interval
        gauges = gauges or GaugesConfig()
        self._mirror = Mirror(database, source.server, clock=clock)
        self._events = events
        self._showing = Showing(Latest(database, self._mirror.server, clock=clock), gauges, config)
        self._clock = clock
        self._published: Snapshot | None = None
        pending = Pending(database, self._mirror)
        servers = tuple(servers) or (source.server,)
        self._reading = Reading(
            source,
            config,
            AddedLabels(gauges.labels.add, longest=gauges.max_label_length),
            database=database,
            mirror=self._mirror,
            pending=pending,
            stop=stop,
            on_runs=events.loading,
            clock=clock,
        )
        self._queueing: Histories = (
            Queueing(
                source,
                database=database,
                pending=pending,
                queues=queues,
                history=config.history,
                events=QueueEvents(events.queued, events.read, events.sending),
                stop=stop,
                divided=database.divided,
                servers=servers,
            )
            if hand_out is None
            else Dispatch(
                database,
                pending,
                mask(queues),
                hand_out,
                behind=events.behind,
                server=source.server,
                servers=servers,
            )
        )
        self._takes_over = hand_out is not None
        self._expected = False
        self._counts: tuple[int, int] | None = None
        self._counted = False
        self._count_again = 0.0

    def run(self, *, complete: bool) -> PollReport:
        """Read what changed; with ``complete`` read everything, and find points that were logged late, too.

        A complete poll takes the time that it needs, others leave the next one its turn.
        Raises SourceError, StateError, or PollInterruptedError once the daemon stops.
        """
        started = time.monotonic()
        self._database.check()
        if not self._expected:
            self._queueing.expect()
            self._expected = True
        if self._takes_over and self._published is None and (known := self._reading.known()) is not None:
            self._show(known)
        counts, self._counts = self._counts, None  # what a poll that fails recorded is still to be shown
        found = self._reading.update(complete=complete)
        snapshot, renewed = self._show(found)
        self._counted = self._counted and not found.anything
        if counts is None or complete or (not self._counted and time.monotonic() >= self._count_again):
            counts = self._count()
        self._counts = counts
        until = None if complete else started + _READING * self._interval
        queued = self._queueing.run(until=until)
        return PollReport(
            experiments=len(found.experiments),
            runs=counts[0],
            gone=len(found.gone),
            series=counts[1],
            enqueued=queued.enqueued,
            full=queued.full,
            unfinished=queued.unfinished,
            seconds=time.monotonic() - started,
            shown=None if snapshot is None else snapshot.series_count,
            left_out={} if snapshot is None else snapshot.left_out,
            most=() if snapshot is None else snapshot.most,
            renewed=renewed,
            server=self._mirror.identity,
        )

    def _show(self, found: Found) -> tuple[Snapshot | None, bool]:
        """The snapshot, None when nobody shows gauges; and whether it is another one than before."""
        if self._events.published is None:
            return None, False
        snapshot = self._showing.update(found, round(self._clock() * 1000))
        renewed, self._published = snapshot is not self._published, snapshot
        self._events.published(snapshot)
        return snapshot, renewed

    def verdicts(self) -> Iterator[tuple[str, str, Verdict]]:
        """Of every metric key of every published experiment (by name), which way is better, and what says so."""
        return self._showing.verdicts()

    def _count(self) -> tuple[int, int]:
        """What is there. Counting costs what exists, not what changed, so it gets a small part of the time."""
        began = time.monotonic()
        counts = self._mirror.counts()
        ended = time.monotonic()
        self._counted = True
        self._count_again = ended if ended - began < _CHEAP else ended + _COUNTING * (ended - began)
        return counts
