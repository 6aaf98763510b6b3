"""What an answer of the tracking server means.

::

    200 with a JSON object          the answer
    408, 429, 5xx                   PassingError      asking again may help
    404 RESOURCE_DOES_NOT_EXIST     MissingItemError  this item is gone, everything else is fine
    anything else                   RefusalError      an operator must change something

Every text is one line without secrets, names the server, and says what to do where we know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from mlflow_monitoring_exporter.core.errors import SourceRefusedError, SourceResponseError, SourceUnavailableError
from mlflow_monitoring_exporter.core.foreign_text import excerpt
from mlflow_monitoring_exporter.http import HttpResponse
from mlflow_monitoring_exporter.http.json_body import parsed

WHICH_SERVER = "is mlflow.tracking_uri the address of an MLflow server?"
#: MLflow's words for "not here", said with a 5xx status although asking again is vain.
_NOT_OFFERED = ("NOT_IMPLEMENTED", "FEATURE_DISABLED")


class PassingError(SourceUnavailableError):
    """The server does not answer now; ``retry_after`` is its own wish in seconds, if it named one.

    ``status`` is the HTTP status, None when no answer came.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class RefusalError(SourceRefusedError):
    """The server answered no; ``status`` is the HTTP status, ``code`` MLflow's own, empty without one."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class MissingItemError(SourceResponseError):
    """The run that was asked for does not exist."""


def read_answer(
    response: HttpResponse, *, server: str, credentials: str, redact: Callable[[str], str]
) -> Mapping[str, Any]:
    """The JSON object that the server answered with.

    ``credentials`` names the configuration keys of what was sent, empty for nothing; ``redact``
    removes secrets from what the server said. Raises PassingError, MissingItemError or RefusalError.
    """
    status = response.status
    answer = _json(response.body)
    if 200 <= status < 300:
        if isinstance(answer, dict):
            return answer
        if not response.framed and "json" in response.headers.get("Content-Type", ""):
            raise PassingError(f"{server} does not answer now: the answer was cut short")
        raise RefusalError(f"{server} answered with {_kind(response)} instead of JSON: {WHICH_SERVER}", status=status)

    error = answer if isinstance(answer, dict) else {}
    code = error.get("error_code")
    said = f": {excerpt(redact(str(error['message'])))}" if error.get("message") else ""
    if code not in _NOT_OFFERED and (status in (408, 429) or (status >= 500 and status != 501)):
        said = said or f": {response.describe(redact)}"
        raise PassingError(
            f"{server} does not answer now (HTTP {status}){said}", retry_after=response.retry_after(), status=status
        )
    if code == "RESOURCE_DOES_NOT_EXIST":
        raise MissingItemError(f"{server} answered{said or ' that it does not exist'}")
    refusal = RefusalError(f"{server} {_refusal(response, said, credentials)}", status=status)
    if isinstance(code, str):
        refusal.code = code
    raise refusal


def _refusal(response: HttpResponse, said: str, credentials: str) -> str:
    status = response.status
    if 300 <= status < 400:
        return f"redirects to {_where(response)}: set mlflow.tracking_uri to the address that serves MLflow"
    if status == 401:
        return _unauthorized(credentials)
    if status == 403:
        return _forbidden(response, said, credentials)
    if status in (404, 405):
        return f"has no MLflow REST API at this address (HTTP {status}{said}): {WHICH_SERVER}"
    return f"refused the request (HTTP {status}){said}"


def _unauthorized(credentials: str) -> str:
    if credentials:
        return f"does not accept the credentials (HTTP 401): check {credentials}"
    return "asks for credentials (HTTP 401): set mlflow.username and mlflow.password, or mlflow.token"


def _forbidden(response: HttpResponse, said: str, credentials: str) -> str:
    if b"Invalid Host header" in response.body:
        return (
            "does not answer under this host name (HTTP 403 Invalid Host header): "
            'add it to the server\'s list, as in: mlflow server --allowed-hosts "mlflow:5000,localhost:5000"'
        )
    if credentials:
        return f"does not permit this user to read (HTTP 403){said}: check {credentials}, and the user's permissions"
    return f"does not permit reading without credentials (HTTP 403){said}: set mlflow.username or mlflow.token"


def _json(body: bytes) -> Any:
    """The body as JSON, None when it is not.

    Python's parser also takes the bare NaN that some servers write, halves of characters, and bytes that are
    no UTF-8, so that one of them costs one field (source/fields.py) and not the whole answer.
    """
    try:
        return parsed(body)
    except ValueError:
        return None


def _kind(response: HttpResponse) -> str:
    if not response.body.strip():
        return "nothing"
    if "html" in response.headers.get("Content-Type", "") or response.body.lstrip()[:1] == b"<":
        return "an HTML page"
    return "something else"


def _where(response: HttpResponse) -> str:
    """The target of a redirect without user, password and query, where login pages carry tokens."""
    try:
        parts = urlsplit(response.headers.get("Location", ""))
    except ValueError:
        return "an address that is not a URL"
    host = parts.netloc.rpartition("@")[2]
    place = f"{parts.scheme}://{host}{parts.path}" if host else parts.path
    return excerpt(place) or "nowhere"
