"""What does an HTTP answer mean for the payload that was sent?

=====================================  ==============================================================================
none, or one that is cut short         retry: it is unknown what the platform has
2xx                                    delivered
2xx with an HTML page                  retry: a login page, or another server; whoever it was for has seen nothing
207                                    dead letter: a part was refused, and halves find out which
408, 425, 429, 5xx                     retry: not now
409 to a request with a key            retry: the first one with this key is still in work (Idempotency-Key, 2.7)
423, 424                               retry: something is locked, or something else has failed
3xx, 404, 405, 406, 411, 414, 417,     retry: the address, or what stands between, is wrong; every payload would get
421, 426, 428, 431                     the same answer
401, 403, 407                          park until the credentials work; 407 is a proxy's
any other 4xx, 409 without a key       dead letter: the payload is refused for what it is
=====================================  ==============================================================================

Every retry is of the same bytes under the same key, and not before ``Retry-After``.
"""

from __future__ import annotations

from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.http import HttpResponse

#: A platform may ask for patience, but not for a day of it.
LONGEST_WAIT = 3600.0
#: Who is asked in a way that it does not offer, and says so, is there: what a check wants to know.
REACHED = (405, 501)
CREDENTIALS = (401, 403, 407)
#: Every payload would be refused so.
ADDRESS = (404, 405, 406, 411, 414, 417, 421, 426, 428, 431)
_LATER = (408, 423, 424, 425, 429)
_CONFLICT = 409
_MULTI_STATUS = 207


def to_error(answer: HttpResponse, text: str, *, keyed: bool = False) -> ExportError:
    """The error that an answer without success means; ``text`` says what happened, and where.

    ``keyed`` says that the request carried a key by which the platform knows it again.
    """
    status = answer.status
    if status in CREDENTIALS:
        return UnauthorizedExportError(f"{text}; check its credentials")
    if status == _MULTI_STATUS and not answer.is_page:
        return PermanentExportError(f"{text}; it did not take all of it", status=status)
    reason = ""
    if status in ADDRESS or 300 <= status < 400:
        reason = "; check its address"
    elif status < 300 and answer.is_page:
        reason = "; is that a login page? check its address and its credentials"
    elif status == _CONFLICT and keyed:
        reason = "; the first request with this key is still in work"
    elif 400 <= status < 500 and status not in _LATER:
        return PermanentExportError(text, status=status)
    return RetryableExportError(f"{text}{reason}", retry_after=pause(answer), status=status)


def pause(answer: HttpResponse) -> float | None:
    """Seconds that the platform asks for, as far as we follow."""
    wait = answer.retry_after()
    return None if wait is None else min(wait, LONGEST_WAIT)
