"""Which tracking servers does this replica poll, and whose gauges does it show?

::

    heartbeat --> tracking servers without an owner  --> claimed: poll them, show their gauges
              --> the rest: another replica's
              --> jobs of all tracking servers: collect points (cluster/job_queue.py)

One replica at a time polls a tracking server and shows its gauges; all replicas collect and deliver points. A replica
that has not reached the database for longer than a lease shows nothing: another one may have taken over.
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

#: Tracking servers taken over in one heartbeat: each takes a moment, and the next heartbeat must not be late.
_AT_ONCE = 20
#: Seconds that a running poll may still take before its server is released.
_PATIENCE = 60.0


class Ownership:
    """Polls what is claimed and collects what is handed out, from :meth:`start` to :meth:`stop`.

    ``servers`` are all tracking servers, by identity. ``wake`` is called with each heartbeat: there may be
    something to deliver that another replica enqueued. ``rejoin`` is called once this replica's lease has expired.
    """

    def __init__(
        self,
        replicas: ReplicaTable,
        heartbeat: Heartbeat,
        servers: Mapping[str, Roles],
        collectors: CollectWorkers,
        *,
        readiness: Readiness,
        metrics: SelfMetrics,
        wake: Callable[[], None],
        rejoin: Callable[[], None],
    ) -> None:
        self._replicas = replicas
        self._heartbeat = heartbeat
        self._servers = servers
        self._first = next(iter(servers))
        self._collectors = collectors
        self._readiness = readiness
        self._metrics = metrics
        self._wake = wake
        self._rejoin = rejoin
        self._lock = threading.Lock()
        self._loops: dict[str, PollLoop] = {}
        self._leaving: set[str] = set()
        self._stopping = False
        self._alone = False
        for server in servers:
            metrics.owner.labels(server).set(0)

    def start(self) -> None:
        """Begin to claim servers and to collect points."""
        self._readiness.expect(REPLICA, "state database not reached yet")
        self._heartbeat.listen(self)
        self._collectors.start()

    @property
    def alone(self) -> bool:
        """Whether no other replica delivers the backlog."""
        return self._alone

    @property
    def shows(self) -> bool:
        """Whether this replica, and no other, shows the gauges that it has now."""
        return bool(self._loops) and self._heartbeat.holds_lease and not self._stopping

    @property
    def counts(self) -> bool:
        """Whether this replica reports the totals that all share: the one that polls the first server does."""
        return self.shows and self._first in self._loops

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set; whether it was."""
        moved = [loop.check_clock() for loop in list(self._loops.values())]
        return any(moved)

    def stop(self, within: float) -> bool:
        """Stop polling and collecting, and release every server at once; whether all ended ``within`` seconds."""
        with self._lock:
            self._stopping = True
            loops = list(self._loops.values())
        until = time.monotonic() + within
        ended = stop_all(loops, within)
        try:
            self._replicas.release(self._servers)
        except StateError as error:
            _log.debug("cannot release tracking servers", reason=str(error))
        return self._collectors.stop(max(0.0, until - time.monotonic())) and ended

    def on_expired(self) -> None:
        """This replica's lease has expired: others own what it owned."""
        self._metrics.expelled.inc()
        self._readiness.bad(REPLICA, "lease expired; rejoining")
        self._rejoin()

    def on_heartbeat(self, beat: Beat | StateError) -> None:
        """Take over servers without an owner, release what exceeds a fair share, and report readiness."""
        if isinstance(beat, StateError):
            self._readiness.bad(REPLICA, str(beat))
            return
        self._readiness.good(REPLICA)
        self._alone = len(beat.alive) == 1
        self._metrics.replicas.set(len(beat.alive))
        self._wake()
        self._balance(-(-len(self._servers) // len(beat.alive)))
        with self._lock:  # before the query: what is released meanwhile is not ours, whatever the result says
            ours = self._loops.keys() | self._leaving
        owners = self._replicas.watched()
        for server, roles in self._servers.items():
            if server in ours:
                continue
            now = owners.get(server)
            if now is not None and now.mine:  # claimed just now, or earlier and not polled yet
                self._take_over(server)
                continue
            if now is None or now.owner is None:
                self._readiness.bad(roles.component, "not polled by any replica yet")
                continue
            self._readiness.good(roles.component, state=f"polled by {now.owner}")
            if now.since_ms is not None:
                self._metrics.read_at(server, now.since_ms / 1000)

    def _balance(self, share: int) -> None:
        with self._lock:  # a replica that stops must not claim what it has just released
            wanted = [server for server in self._servers if server not in self._loops]
            room = share - len(self._loops)
            if room > 0 and wanted and not self._stopping:
                self._replicas.claim(wanted, min(room, _AT_ONCE))
            kept = [server for server in self._loops if server not in self._leaving]
            self._leaving.update(kept[share:])
        for server in kept[share:]:
            # A poll that runs may take longer than a lease, and heartbeats must go on.
            threading.Thread(target=self._release, args=(server,), name=f"release {server}", daemon=True).start()

    def _take_over(self, server: str) -> None:
        with self._lock:
            if self._stopping:
                return
            loop = self._servers[server].poll_loop(partial(hand_out, server))
            self._loops[server] = loop
            self._metrics.takeovers.inc()
            self._metrics.owner.labels(server).set(1)
            _log.info("took over tracking server", mlflow=server)
            loop.start()

    def _release(self, server: str) -> None:
        """Release a server to a replica that owns fewer."""
        self._loops[server].stop(_PATIENCE)
        with self._lock:
            del self._loops[server]
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
