"""The heartbeat of one replica, and whether what it knows of the others may still be believed."""

from __future__ import annotations

import threading
import time
from typing import Protocol

import structlog

from mlflow_monitoring_exporter.core.errors import StateError, StateExpelledError
from mlflow_monitoring_exporter.state.membership import Beat, ReplicaTable

_log = structlog.get_logger(__name__)

#: Heartbeats within one lease: some may be lost.
_BEATS = 8


class HeartbeatListener(Protocol):
    """Who acts on heartbeats."""

    def beaten(self, beat: Beat | StateError) -> None:
        """The database took a heartbeat, or why it did not. May raise StateError."""
        ...

    def expelled(self) -> None:
        """The others have given this replica up; there will be no more beats."""
        ...


class Heartbeat:
    """Beats on a thread of its own, from :meth:`start` to :meth:`stop`. There may be no listener."""

    def __init__(self, replicas: ReplicaTable, *, lease: float) -> None:
        self._replicas = replicas
        self._lease = lease
        self._listener: HeartbeatListener | None = None
        self._until = time.monotonic() + lease
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    @property
    def beating(self) -> bool:
        """Whether this replica's lease cannot have expired yet: then it still owns what it owned.

        Counted from before the heartbeat was sent, so that it ends no later than the others' patience. A
        process that was frozen finds out here before it does anything else.
        """
        return time.monotonic() < self._until

    def tell(self, listener: HeartbeatListener) -> None:
        """From the next beat on."""
        self._listener = listener

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more beats; what is owned is no longer believed to be."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._until = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            beat: Beat | StateError
            try:
                beat = self._replicas.beat()
            except StateExpelledError:
                self._until = 0.0
                self._expelled()
                return
            except StateError as error:
                beat = error
            else:
                self._until = began + self._lease
                if beat.given_up:
                    _log.warning("leases of other replicas expired", replicas=list(beat.given_up))
            self._tell(beat)
            self._stop.wait(self._lease / _BEATS)

    def _tell(self, beat: Beat | StateError) -> None:
        try:
            if self._listener is not None:
                self._listener.beaten(beat)
        except StateExpelledError:
            return  # as the next beat will tell
        except StateError as error:
            _log.debug("heartbeat incomplete", reason=str(error))
        except Exception:  # noqa: BLE001 - a bug there must not cost us the lease
            _log.exception("heartbeat crashed")

    def _expelled(self) -> None:
        _log.warning("lease expired; rejoining")
        while self._listener is None and not self._stop.wait(0.1):
            pass  # it is still being built
        if self._listener is not None:
            self._listener.expelled()
