"""MLflow's REST API: one request, and what its answer means. https://mlflow.org/docs/latest/rest-api.html"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time
from typing import Any, Protocol
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import getproxies

from mlflow_monitoring_tracking.backends.contract import BackendError, Rejected, Unauthorized, Unavailable
from mlflow_monitoring_tracking.settings import MLflow

_TOO_LARGE = 413
_TOO_MANY = 429
_REFUSED = frozenset({401, 403, 407})
_LATER = frozenset({408, 409, 423, 425, _TOO_MANY})


class NotFound(Rejected):
    """There is no such run, experiment or file."""


class Client(Protocol):
    """Answers the requests of MLflow's REST API that the back end makes. Each call may raise a ``BackendError``."""

    @property
    def address(self) -> str:
        """Without credentials."""
        ...

    def get(self, path: str, query: Mapping[str, str]) -> Any:
        """The JSON of a GET below ``/api/2.0/mlflow/``."""
        ...

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST below ``/api/2.0/mlflow/``."""
        ...

    def put_file(self, path: str, file: Path) -> None:
        """Upload to the server's artifact proxy; ``path`` is relative to its root."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class RestClient:
    """One server. Not for more than one thread at a time."""

    def __init__(self, address: str, settings: MLflow) -> None:
        import requests

        self._requests = requests
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "mlflow-monitoring-tracking"
        parts = urlsplit(address)
        self._settings = settings
        self._user, self._password = settings.username or parts.username, settings.password or parts.password
        if settings.token or settings.token_file:
            self._session.trust_env = False  # a .netrc would replace the token
            self._session.proxies.update(getproxies())
        if settings.workspace:
            self._session.headers["X-MLFLOW-WORKSPACE"] = settings.workspace
        if settings.client_cert_file:
            key = settings.client_key_file
            self._session.cert = (settings.client_cert_file, key) if key else settings.client_cert_file
        self._verify = settings.ca_file  # of the request: what the environment names would win over the session's
        host = parts.netloc.rpartition("@")[2]
        self._root = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._timeout = (min(10.0, settings.timeout), settings.timeout)

    @property
    def address(self) -> str:
        """Without credentials."""
        return self._root

    def get(self, path: str, query: Mapping[str, str]) -> Any:
        """The JSON of a GET below ``/api/2.0/mlflow/``."""
        return self._call("GET", f"/api/2.0/mlflow/{path}", params=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of a POST below ``/api/2.0/mlflow/``."""
        data = json.dumps(body).encode()  # ASCII: a lone surrogate is an escape that MLflow can answer to
        return self._call("POST", f"/api/2.0/mlflow/{path}", data=data, headers={"Content-Type": "application/json"})

    def put_file(self, path: str, file: Path) -> None:
        """Upload to the server's artifact proxy; ``path`` is relative to its root."""
        with file.open("rb") as content:
            # An empty file would be sent in chunks, which some proxies refuse.
            data: Any = content if file.stat().st_size else b""
            self._call("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{quote(path)}", data=data)

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()

    def _authorize(self) -> None:
        """With the credentials as they are now: files may have been replaced."""
        if token := _secret(self._settings.token, self._settings.token_file):
            self._session.headers["Authorization"] = f"Bearer {token}"
        elif self._user:
            password = _secret(self._password, self._settings.password_file) or ""
            self._session.auth = self._requests.auth.HTTPBasicAuth(self._user.encode(), password.encode())

    def _call(self, method: str, path: str, **wishes: Any) -> Any:
        self._authorize()
        what = f"{method} {self._root}{path}"
        try:
            answer = self._session.request(
                method, f"{self._root}{path}", timeout=self._timeout, verify=self._verify, **wishes
            )
        except (self._requests.RequestException, OSError) as error:
            raise Unavailable(f"{what}: {_short(error)}") from None  # the error itself may hold credentials
        if answer.status_code == 200:
            try:
                return answer.json() if answer.content else {}
            except ValueError:
                raise Unavailable(f"{what}: the answer is no JSON; is this an MLflow server?") from None
        raise _refusal(answer, what)


def _secret(value: str | None, file: str | None) -> str | None:
    if file is None:
        return value
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unauthorized(f"the secret in {file} cannot be read: {getattr(error, 'strerror', 'no UTF-8')}") from None


def _refusal(answer: Any, what: str) -> BackendError:
    try:
        said = answer.json()
        code, message = str(said.get("error_code", "")), str(said.get("message", ""))
    except (ValueError, AttributeError):
        code, message = "", answer.text[:200]
    status = answer.status_code
    text = f"{what}: {status} {' '.join(f'{code} {message}'.split())[:500]}"
    if status in _REFUSED:
        return Unauthorized(text)
    if status in _LATER or status >= 500:
        return Unavailable(text, _retry_after(answer.headers.get("Retry-After")))
    if status == 404 or code == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(text) if code else Unavailable(f"{text}: is this an MLflow server?")
    if status < 400:
        return Unavailable(f"{what}: {status}, a redirect or no answer of MLflow's")
    return Rejected(text)


def _retry_after(text: str | None) -> float | None:
    if not text:
        return None
    if text.strip().isdecimal():
        return min(float(text), 3600.0)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time()), 3600.0)
    except (TypeError, ValueError):
        return None


def _short(error: Exception) -> str:
    """The kind of failure, and the system's word for it, without the address, which may hold a password."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{type(error).__name__}: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
