"""What does an HTTP answer mean for the payload that was sent?

=====================================  =============================================
no answer, 408, 425, 429, 5xx          retry, honouring ``Retry-After``
3xx, 404, 405                          retry: the address is wrong, not the payload
401, 403                               park until the credentials work
any other 4xx                          dead letter
=====================================  =============================================
"""

from __future__ import annotations

from mlflow_monitoring_exporter.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.http import HttpResponse

#: A platform may ask for patience, but not for a day of it.
LONGEST_WAIT = 3600.0


def to_error(answer: HttpResponse, text: str) -> ExportError:
    """The error that an answer without success means; ``text`` says what happened, and where."""
    status = answer.status
    if status in (401, 403):
        return UnauthorizedExportError(f"{text}; check its credentials")
    if status in (404, 405) or 300 <= status < 400:
        return RetryableExportError(f"{text}; check its address")
    if status in (408, 425, 429) or status >= 500:
        return RetryableExportError(text, retry_after=pause(answer))
    return PermanentExportError(text, status=status)


def pause(answer: HttpResponse) -> float | None:
    """Seconds that the platform asks for, as far as we follow."""
    wait = answer.retry_after()
    return None if wait is None else min(wait, LONGEST_WAIT)
