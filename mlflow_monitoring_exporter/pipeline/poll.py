"""What does one poll do?

::

    MLflow -> what changed -> mirror            (pipeline/sync.py)
                                |
       gauges of all runs, built when one differs: published
                                |
    points of series that moved -> queued       (pipeline/enqueue.py)

A poll that fails in the middle shows nothing and forgets nothing: what it recorded is shown by the
next whole one, and what it queued stays queued.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mlflow_monitoring_exporter.core.clock import to_ms
from mlflow_monitoring_exporter.core.directions.direction import Verdict
from mlflow_monitoring_exporter.core.values import Demand, Snapshot
from mlflow_monitoring_exporter.pipeline.differences import Differences
from mlflow_monitoring_exporter.pipeline.queues import Histories
from mlflow_monitoring_exporter.pipeline.snapshots import SnapshotBuilder
from mlflow_monitoring_exporter.pipeline.sync import MirrorSync
from mlflow_monitoring_exporter.state.mirror import Mirror

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
    (None when no exporter shows gauges), ``left_out`` those that are missing in it, by reason, and ``most`` who wants
    most while there is no room for some; ``renewed`` says that it is another snapshot than the one before.
    ``enqueued`` counts new samples per exporter; ``full`` names exporters whose queue had no room, so that points
    were left in MLflow for a later poll. ``unfinished`` says that some were left because reading them would have
    kept the next poll, and the gauges, waiting. ``at`` is the Unix time as of which all of that is so.
    """

    experiments: int
    runs: int
    gone: int
    series: int
    enqueued: Mapping[str, int]
    full: tuple[str, ...]
    seconds: float
    at: float
    unfinished: bool = False
    shown: int | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    most: tuple[Demand, ...] = ()
    renewed: bool = False
    server: str = ""


class Poller:
    """Polls one MLflow. Used by one thread at a time; app/polling.py puts it together.

    ``publish`` gets each snapshot, the same object as before when none of its gauges differs; None when no exporter
    shows gauges, which saves building them. ``interval`` is in seconds. ``clock`` gives the time in Unix seconds.
    """

    def __init__(
        self,
        mirror: Mirror,
        sync: MirrorSync,
        snapshots: SnapshotBuilder,
        histories: Histories,
        *,
        publish: Callable[[Snapshot], None] | None,
        interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mirror = mirror
        self._sync = sync
        self._snapshots = snapshots
        self._histories = histories
        self._publish = publish
        self._interval = interval
        self._clock = clock
        self._published: Snapshot | None = None
        self._expected = False
        self._counts: tuple[int, int] | None = None
        self._counted = False
        self._count_again = 0.0

    def show_known(self) -> PollReport | None:
        """Publish what the mirror holds, without asking MLflow, which may be away.

        None when the mirror never was whole, or something newer is shown. Raises StateError.
        """
        if self._published is not None:
            return None
        started = time.monotonic()
        self._mirror.check()
        known = self._sync.known()
        if known is None or known.as_of_ms is None:
            return None
        snapshot, renewed = self._show(known)
        counts = self._counts = self._count()
        at = known.as_of_ms / 1000
        return self._report(known, snapshot, counts, renewed=renewed, started=started, at=at)

    def run(self, *, complete: bool, runs_only: bool = False) -> PollReport:
        """Read what changed; with ``complete`` read everything, and find points that were logged late, too.

        A complete poll takes the time that it needs, others leave the next one its turn. With ``runs_only`` new
        experiments and the model registry wait for another poll.
        Raises SourceError, StateError, or PollInterruptedError once the daemon stops.
        """
        started = time.monotonic()
        self._mirror.check()
        if not self._expected:
            self._histories.expect()
            self._expected = True
        counts, self._counts = self._counts, None  # what a poll that fails recorded is still to be shown
        found = self._sync.update(complete=complete, runs_only=runs_only)
        snapshot, renewed = self._show(found)
        self._counted = self._counted and not found.anything
        if counts is None or complete or (not self._counted and time.monotonic() >= self._count_again):
            counts = self._count()
        self._counts = counts
        until = None if complete else started + _READING * self._interval
        queued = self._histories.run(until=until)
        report = self._report(found, snapshot, counts, renewed=renewed, started=started, at=self._clock())
        enqueued = {name: count + found.queued[name] for name, count in queued.enqueued.items()}
        return replace(report, enqueued=enqueued, full=queued.full, unfinished=queued.unfinished)

    def _report(
        self,
        found: Differences,
        snapshot: Snapshot | None,
        counts: tuple[int, int],
        *,
        renewed: bool,
        started: float,
        at: float,
    ) -> PollReport:
        """What was found, before anything is queued."""
        return PollReport(
            experiments=len(found.experiments),
            runs=counts[0],
            gone=len(found.gone),
            series=counts[1],
            enqueued={},
            full=(),
            seconds=time.monotonic() - started,
            at=at,
            shown=None if snapshot is None else snapshot.series_count,
            left_out={} if snapshot is None else snapshot.left_out,
            most=() if snapshot is None else snapshot.most,
            renewed=renewed,
            server=self._mirror.identity,
        )

    def _show(self, found: Differences) -> tuple[Snapshot | None, bool]:
        """The snapshot, None when no exporter shows gauges; and whether it is another one than before."""
        if self._publish is None:
            return None, False
        snapshot = self._snapshots.update(found, to_ms(self._clock()))
        renewed, self._published = snapshot is not self._published, snapshot
        self._publish(snapshot)
        return snapshot, renewed

    def verdicts(self) -> Iterator[tuple[str, str, Verdict]]:
        """Of every metric key of every published experiment (by name), which way is better, and what says so."""
        return self._snapshots.verdicts()

    def _count(self) -> tuple[int, int]:
        """What is there. Counting costs what exists, not what changed, so it gets a small part of the time."""
        began = time.monotonic()
        counts = self._mirror.counts()
        ended = time.monotonic()
        self._counted = True
        self._count_again = ended if ended - began < _CHEAP else ended + _COUNTING * (ended - began)
        return counts
