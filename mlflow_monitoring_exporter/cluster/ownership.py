"""One replica among many: what it polls, what it takes over, what it shows.

::

    heartbeat --> tracking servers without an owner  --> claimed: poll it, show its gauges
              --> the rest: another replica's
              --> jobs of all tracking servers: collect points (cluster/job_queue.py)

A tracking server is polled, and its gauges are shown, by one replica at a time; points are collected and
delivered by all. When the database does not answer for longer than a lease, no replica shows anything: one that
cannot reach it cannot know whether another one took over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from mlflow_monitoring_exporter.cluster.heartbeat import Heartbeat
from mlflow_monitoring_exporter.cluster.job_queue import CollectWorkers, hand_out
from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.schedule.poll_job import REPLICA
from mlflow_monitoring_exporter.schedule.poll_loop import PollLoop, Roles, stop_all
from mlflow_monitoring_exporter.state.membership import Beat, ReplicaTable
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)

#: Tracking servers that are taken over with one heartbeat: each takes a moment, and the next beat must not be late.
_AT_ONCE = 20
#: Seconds that a poll may take to end before another replica begins to poll.
_PATIENCE = 60.0


class Ownership:
    """Polls what is claimed and collects what is handed out, from :meth:`start` to :meth:`stop`.

    ``servers`` are all tracking servers, by identity. ``wake`` is called with each heartbeat: there may be
    something to deliver that another replica enqueued.
    """

    def __init__(
        self,
        replicas: ReplicaTable,
        heart: Heartbeat,
        servers: Mapping[str, Roles],
        collectors: CollectWorkers,
        *,
        readiness: Readiness,
        metrics: SelfMetrics,
        wake: Callable[[], None],
        on_expired: Callable[[], None],
    ) -> None:
        self._replicas = replicas
        self._heart = heart
        self._servers = servers
        self._first = next(iter(servers))
        self._collectors = collectors
        self._readiness = readiness
        self._metrics = metrics
        self._wake = wake
        self._on_expired = on_expired
        self._lock = threading.Lock()
        self._watches: dict[str, PollLoop] = {}
        self._leaving: set[str] = set()
        self._stopping = False
        self._alone = False
        for server in servers:
            metrics.owner.labels(server).set(0)

    def start(self) -> None:
        """Begin to claim, and to collect."""
        self._readiness.expect(REPLICA, "state database not reached yet")
        self._heart.tell(self)
        self._collectors.start()

    @property
    def alone(self) -> bool:
        """Whether no other replica delivers the backlog."""
        return self._alone

    @property
    def shows(self) -> bool:
        """Whether this replica, and no other, shows the gauges that it has now."""
        return bool(self._watches) and self._heart.beating and not self._stopping

    @property
    def counts(self) -> bool:
        """Whether this replica says what they all share: the one that polls the first server does."""
        return self.shows and self._first in self._watches

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
        ended = stop_all(watches, within)
        try:
            self._replicas.release(self._servers)
        except StateError as error:
            _log.debug("cannot release tracking servers", reason=str(error))
        return self._collectors.stop(max(0.0, until - time.monotonic())) and ended

    def expelled(self) -> None:
        """The others have given this replica up."""
        self._metrics.expelled.inc()
        self._readiness.bad(REPLICA, "lease expired; rejoining")
        self._on_expired()

    def beaten(self, beat: Beat | StateError) -> None:
        """Take over servers without an owner, give back what is more than a fair share, and report the state."""
        if isinstance(beat, StateError):
            self._readiness.bad(REPLICA, str(beat))
            return
        self._readiness.good(REPLICA)
        self._alone = len(beat.alive) == 1
        self._metrics.replicas.set(len(beat.alive))
        self._wake()
        self._balance(-(-len(self._servers) // len(beat.alive)))
        with self._lock:  # before the question: what was given back meanwhile is not ours, whatever the answer says
            ours = self._watches.keys() | self._leaving
        watched = self._replicas.watched()
        for server, roles in self._servers.items():
            if server in ours:
                continue
            now = watched.get(server)
            if now is not None and now.mine:  # claimed just now, or when it could not be begun
                self._begin(server)
                continue
            if now is None or now.owner is None:
                self._readiness.bad(roles.component, "not polled by any replica yet")
                continue
            self._readiness.good(roles.component, state=f"polled by {now.owner}")
            self._metrics.read_at(server, (now.since_ms or 0) / 1000)

    def _balance(self, share: int) -> None:
        with self._lock:  # or one that stops might claim what it has just given back
            wanted = [server for server in self._servers if server not in self._watches]
            room = share - len(self._watches)
            if room > 0 and wanted and not self._stopping:
                self._replicas.claim(wanted, min(room, _AT_ONCE))
            kept = [server for server in self._watches if server not in self._leaving]
            self._leaving.update(kept[share:])
        for server in kept[share:]:
            # A poll that runs may take longer than the others' patience with a heart that does not beat.
            threading.Thread(target=self._give_back, args=(server,), name=f"give back {server}", daemon=True).start()

    def _begin(self, server: str) -> None:
        with self._lock:
            if self._stopping:
                return
            watch = self._servers[server].poll_loop(partial(hand_out, server))
            self._watches[server] = watch
            self._metrics.takeovers.inc()
            self._metrics.owner.labels(server).set(1)
            _log.info("took over tracking server", mlflow=server)
            watch.start()

    def _give_back(self, server: str) -> None:
        """To whoever has fewer."""
        self._watches[server].stop(_PATIENCE)
        with self._lock:
            del self._watches[server]
        self._servers[server].released()
        self._metrics.owner.labels(server).set(0)
        _log.info("released tracking server (rebalance)", mlflow=server)
        try:
            self._replicas.release([server])
        except StateError as error:
            _log.debug("cannot release tracking server; polling it again", reason=str(error))
        finally:
            with self._lock:
                self._leaving.discard(server)
