"""One replica among many: what it polls, what it takes over, what it shows.

::

    heartbeat --> tracking servers that nobody polls --> claimed: poll it, show its gauges
              --> the rest: somebody else's
              --> jobs of all tracking servers: collect points (schedule/collecting.py)

A tracking server is polled, and its gauges are shown, by one replica at a time; points are collected and
delivered by all. When the database does not answer for longer than a lease, nobody shows anything: who
cannot reach it cannot know whether somebody else took over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from mlflow_monitoring_exporter.errors import StateError
from mlflow_monitoring_exporter.schedule.collecting import Collectors
from mlflow_monitoring_exporter.schedule.heart import Heart
from mlflow_monitoring_exporter.schedule.job import MLFLOW
from mlflow_monitoring_exporter.schedule.watch import Watch
from mlflow_monitoring_exporter.state.replicas import Beat, Replicas
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)

#: Component of readiness: whether this one is a replica that others count on.
REPLICA = "replica"


class Cluster:
    """Polls what is claimed and collects what is handed out, from :meth:`start` to :meth:`stop`.

    ``new_watch`` makes what polls one of ``servers``, which are tracking servers by identity. ``collectors``
    takes the jobs. ``wake`` is called with each heartbeat: there may be something to deliver that somebody else queued.
    """

    def __init__(
        self,
        replicas: Replicas,
        heart: Heart,
        servers: Sequence[str],
        new_watch: Callable[[str], Watch],
        collectors: Collectors,
        *,
        readiness: Readiness,
        metrics: SelfMetrics,
        wake: Callable[[], None],
        on_expelled: Callable[[], None],
    ) -> None:
        self._replicas = replicas
        self._servers = tuple(servers)
        self._new_watch = new_watch
        self._collectors = collectors
        self._readiness = readiness
        self._metrics = metrics
        self._wake = wake
        self._heart = heart
        self._on_expelled = on_expelled
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._stopping = False
        self._alone = False
        metrics.forget_polls()
        metrics.owner.clear()
        for server in servers:
            metrics.owner.labels(server).set(0)

    def start(self) -> None:
        """Begin to claim, and to collect."""
        self._readiness.expect(REPLICA, "has not reached the state database yet")
        self._heart.tell(self)
        self._collectors.start()

    @property
    def alone(self) -> bool:
        """Whether nobody else delivers what waits."""
        return self._alone

    @property
    def shows(self) -> bool:
        """Whether the gauges that this replica has are to be shown by it, and by nobody else, now."""
        return bool(self._watches) and self._heart.beating and not self._stopping

    @property
    def counts(self) -> bool:
        """Whether this replica says what they all share: one of them does."""
        return self.shows and self._servers[0] in self._watches

    def check_clock(self) -> bool:
        """As each watch does it."""
        moved = [watch.check_clock() for watch in list(self._watches.values())]
        return any(moved)

    def stop(self, within: float) -> bool:
        """Poll and collect no more, and let others go on at once; whether all ended in so many seconds."""
        with self._lock:
            self._stopping = True
            watches = list(self._watches.values())
        until = time.monotonic() + within
        ended = [watch.stop(max(0.0, until - time.monotonic())) for watch in watches]
        try:
            self._replicas.release(self._servers)
        except StateError as error:
            _log.debug("not released", reason=str(error))
        return self._collectors.stop(max(0.0, until - time.monotonic())) and all(ended)

    def expelled(self) -> None:
        """The others have given this replica up."""
        self._metrics.expelled.inc()
        self._readiness.bad(REPLICA, "the other replicas have given this one up: it joins again")
        self._on_expelled()

    def beaten(self, beat: Beat | StateError) -> None:
        """Take over what nobody has, and say how things stand."""
        if isinstance(beat, StateError):
            self._readiness.bad(REPLICA, str(beat))
            return
        self._readiness.good(REPLICA)
        self._alone = len(beat.alive) == 1
        self._metrics.replicas.set(len(beat.alive))
        self._wake()
        self._claim(len(beat.alive))
        watched = self._replicas.watched()
        for server in self._servers:
            if server in self._watches:
                continue
            now = watched.get(server)
            if now is None or now.owner is None:
                self._readiness.bad(MLFLOW, "no replica polls it yet")
                continue
            self._readiness.good(MLFLOW, state=f"polled by {now.owner}")
            self._metrics.poll_success.set((now.since_ms or 0) / 1000)

    def _claim(self, alive: int) -> None:
        share = -(-len(self._servers) // alive) - len(self._watches)
        wanted = [server for server in self._servers if server not in self._watches]
        if share <= 0 or not wanted:
            return
        for server in self._replicas.claim(wanted, share):
            with self._lock:
                if self._stopping:
                    return
                self._metrics.takeovers.inc()
                self._metrics.owner.labels(server).set(1)
                _log.info("polls this tracking server from now on", mlflow=server)
                watch = self._watches[server] = self._new_watch(server)
                watch.start()
