"""The heartbeat of one replica, and whether it still holds its lease."""

from __future__ import annotations

import threading
import time
from typing import Protocol

import structlog

from mlflow_monitoring_exporter.core.errors import StateError, StateExpelledError
from mlflow_monitoring_exporter.state.membership import Beat, ReplicaTable

_log = structlog.get_logger(__name__)

#: Heartbeats in one lease; some may be lost.
_BEATS = 8


class HeartbeatListener(Protocol):
    """Acts on heartbeats."""

    def on_heartbeat(self, beat: Beat | StateError) -> None:
        """The database took a heartbeat, or failed to with the StateError. May raise StateError itself."""
        ...

    def on_expired(self) -> None:
        """The lease expired; there are no more heartbeats."""
        ...


class Heartbeat:
    """Sends heartbeats on a thread of its own, from :meth:`start` to :meth:`stop`. A listener is optional."""

    def __init__(self, replicas: ReplicaTable, *, lease: float) -> None:
        self._replicas = replicas
        self._lease = lease
        self._listener: HeartbeatListener | None = None
        self._held_until = time.monotonic() + lease
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def holds_lease(self) -> bool:
        """Whether this replica's lease cannot have expired yet, so that it still owns what it owned.

        Counted from before the heartbeat was sent: it ends here no later than for the other replicas. A process that
        was frozen finds out here before it does anything else.
        """
        return time.monotonic() < self._held_until

    def listen(self, listener: HeartbeatListener) -> None:
        """Tell ``listener`` of every heartbeat from the next one on."""
        self._listener = listener

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send no more heartbeats, and hold the lease no longer."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._held_until = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            beat: Beat | StateError
            try:
                beat = self._replicas.beat()
            except StateExpelledError:
                self._held_until = 0.0
                self._expire()
                return
            except StateError as error:
                beat = error
            else:
                self._held_until = began + self._lease
                if beat.given_up:
                    _log.warning("leases of other replicas expired", replicas=list(beat.given_up))
            self._notify(beat)
            self._stop.wait(self._lease / _BEATS)

    def _notify(self, beat: Beat | StateError) -> None:
        try:
            if self._listener is not None:
                self._listener.on_heartbeat(beat)
        except StateExpelledError:
            return  # the next heartbeat notices, too
        except StateError as error:
            _log.debug("heartbeat incomplete", reason=str(error))
        except Exception:  # noqa: BLE001 - a bug in the listener must not cost the lease
            _log.exception("heartbeat crashed")

    def _expire(self) -> None:
        _log.warning("lease expired; rejoining")
        while self._listener is None and not self._stop.wait(0.1):
            pass  # still under construction
        if self._listener is not None:
            self._listener.on_expired()
