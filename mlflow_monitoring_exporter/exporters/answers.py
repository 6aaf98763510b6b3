"""What does an HTTP answer mean for the payload that was sent?

=====================================  =============================================
no answer, 408, 425, 429, 5xx          retry, honouring ``Retry-After``
3xx, 404, 405                          retry: the address is wrong, not the payload
401, 403                               park until the credentials work
any other 4xx                          dead letter
=====================================  =============================================
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from mlflow_monitoring_exporter.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)

#: A platform may ask for patience, but not for a day of it.
LONGEST_WAIT = 3600.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait from a ``Retry-After`` of either form (RFC 9110, 10.2.3); None without a usable one."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), LONGEST_WAIT)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def to_error(status: int, headers: Mapping[str, str], text: str) -> ExportError:
    """The error that an answer without success means; ``text`` says what happened, and where."""
    if status in (401, 403):
        return UnauthorizedExportError(f"{text}; check its credentials")
    if status in (404, 405) or 300 <= status < 400:
        return RetryableExportError(f"{text}; check its address")
    if status in (408, 425, 429) or status >= 500:
        return RetryableExportError(text, retry_after=retry_after(headers))
    return PermanentExportError(text)
