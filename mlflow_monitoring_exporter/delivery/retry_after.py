"""When may the platform be asked again?

``Retry-After`` is a promise that outlives a process: it is kept with the queue, and whoever delivers next
(after a restart, after a reload, another replica, ``export-once``) waits for what is left of it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from mlflow_monitoring_exporter.core.errors import RetryableExportError, StateError
from mlflow_monitoring_exporter.exporters.answers import LONGEST_WAIT
from mlflow_monitoring_exporter.state.retry_times import RetryTime, RetryTimes

#: Seconds that a pause may last, whoever asks.
LONGEST = LONGEST_WAIT
#: What is shorter than this is over before anybody else could ask.
_WORTH_KEEPING = 1.0
#: Of replicas another one may have been asked to wait: this often it is looked.
_LOOK_EVERY = 1.0


class LaterError(RetryableExportError):
    """Nothing is to be sent before ``retry_after`` seconds have passed: no attempt was made, or none is left now."""


class RetryAfter:
    """The pause that one exporter's platform asked for. Without ``pauses`` it holds for this attempt only."""

    def __init__(self, name: str, target: str, pauses: RetryTimes | None) -> None:
        self._name = name
        self._target = target
        self._pauses = pauses
        self._ends = 0.0
        self._reason = ""
        self._number = 0
        self._look_at: float | None = 0.0
        self._kept = False

    def asked(self, seconds: float, reason: str) -> None:
        """The platform wants to be left alone for so long."""
        if self._pauses is None or seconds < _WORTH_KEEPING:
            return
        seconds = min(seconds, LONGEST)
        self._begin(RetryTime(seconds, reason))
        # Where it cannot be written this process keeps it all the same.
        with suppress(StateError):
            self._number = self._pauses.put(self._name, self._target, RetryTime(seconds, reason))

    def check(self) -> None:
        """Raise LaterError while it lasts."""
        now = time.monotonic()
        if self._pauses is not None and self._look_at is not None and now >= self._look_at:
            self._look(self._pauses, now)
        if (left := self._ends - now) > 0:
            at = datetime.now(UTC) + timedelta(seconds=left)
            raise LaterError(f"the platform asked to retry after {at:%H:%M:%S} UTC: {self._reason}", retry_after=left)

    def over(self) -> None:
        """The platform took something."""
        if self._kept and self._pauses is not None:
            self._ends, self._kept = 0.0, False
            with suppress(StateError):
                self._pauses.drop(self._name)

    def _look(self, pauses: RetryTimes, now: float) -> None:
        with suppress(StateError):
            pause = pauses.get(self._name, self._target)
            # A single daemon is the only writer of its state.
            self._look_at = now + _LOOK_EVERY if pauses.shared else None
            # By this process's own clock, which is monotonic: what is left when it is first seen is all that is left.
            if pause is not None and pause.number != self._number:
                self._begin(pause)
                self._number = pause.number

    def _begin(self, pause: RetryTime) -> None:
        self._ends = time.monotonic() + min(pause.seconds, LONGEST)
        self._reason, self._kept = pause.reason, True
