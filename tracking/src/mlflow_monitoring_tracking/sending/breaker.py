"""When to try a back end again: after a pause that doubles, and not at all for a while after several failures."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from mlflow_monitoring_tracking.settings import Delivery

#: Seconds between two tries with credentials that were refused.
_REFUSED_PAUSE = 60.0


class Breaker:
    """Of one back end. Closed: everything is sent. Open: nothing is, until the pause is over."""

    def __init__(self, delivery: Delivery, clock: Callable[[], float] = time.monotonic) -> None:
        self._delivery = delivery
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def failures(self) -> int:
        """In a row, since the last success."""
        return self._failures

    @property
    def is_open(self) -> bool:
        """Whether nothing may be sent now."""
        return self._clock() < self._until

    @property
    def wait(self) -> float:
        """Seconds until something may be sent."""
        return max(0.0, self._until - self._clock())

    def succeeded(self) -> bool:
        """Note a success; whether it is the first after failures."""
        recovered = self._failures > 0
        self._failures, self._until = 0, 0.0
        return recovered

    def failed(self, retry_after: float | None = None, *, refused: bool = False) -> bool:
        """Note a failure; whether it is the first in a row. ``retry_after`` seconds are waited at least."""
        self._failures += 1
        settings = self._delivery
        pause = min(settings.backoff_max, settings.backoff_min * 2 ** min(self._failures - 1, 30))
        pause *= random.uniform(0.8, 1.2)  # noqa: S311 - so that many jobs do not come back in one instant
        if self._failures >= settings.breaker_failures:
            pause = max(pause, settings.breaker_pause)
        if refused:
            pause = max(pause, _REFUSED_PAUSE)
        self._until = self._clock() + max(pause, retry_after or 0.0)
        return self._failures == 1
