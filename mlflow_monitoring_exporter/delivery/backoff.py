"""How long to wait before the next attempt?"""

from __future__ import annotations

import random

from tenacity import RetryCallState
from tenacity.wait import wait_base, wait_random_exponential

from mlflow_monitoring_exporter.core.errors import ConfigError, RetryableExportError, UnauthorizedExportError

#: Seconds: the longest pause of the first attempts doubles from FIRST to LONGEST.
FIRST = 1.0
LONGEST = 60.0
#: Wrong credentials seldom mend themselves, and asking often locks accounts.
PARKED = 60.0


class Backoff(wait_base):
    """Exponential with full jitter; never sooner than the platform asked; slow while parked.

    Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): many exporters
    that lost one platform at the same moment do not come back to it at the same moment.
    """

    def __init__(self) -> None:
        self._jittered = wait_random_exponential(multiplier=FIRST, max=LONGEST)

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds to wait after the attempt that just failed."""
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, UnauthorizedExportError | ConfigError):
            return PARKED * random.uniform(0.75, 1.25)  # noqa: S311 - not a secret
        wished = error.retry_after if isinstance(error, RetryableExportError) else None
        return max(float(self._jittered(retry_state)), wished or 0.0)
