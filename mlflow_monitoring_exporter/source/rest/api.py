"""One call of MLflow's REST API: send it, try again when that may help, follow its pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    ConfigError,
    SourceRefusedError,
    SourceResponseError,
    SourceUnavailableError,
)
from mlflow_monitoring_exporter.core.foreign_text import excerpt
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError, display_url
from mlflow_monitoring_exporter.source.fields import is_unicode
from mlflow_monitoring_exporter.source.rest.answer import PassingError, read_answer

_ATTEMPTS = 3
_BACKOFF = wait_random_exponential(multiplier=1.0, max=4.0)
#: The longest Retry-After that is waited for, in seconds; after that the next poll is soon enough.
_PATIENCE = 10.0


class MlflowApi:
    """MLflow's REST API 2.0. For one thread at a time.

    ``stop`` ends a wait between two attempts at once.
    """

    def __init__(self, config: MlflowConfig, stop: threading.Event) -> None:
        self.url = display_url(config.tracking_uri).rstrip("/")
        self._timeout = config.timeout
        self._ca_file = config.ca_file
        self._stop = stop
        self._credentials, self._credential_keys = _credentials(config)
        headers = {"X-MLFLOW-WORKSPACE": config.workspace} if config.workspace else {}
        self._client = HttpClient(
            credentials=self._credentials,
            ca_file=config.ca_file,
            client_cert_file=config.client_cert_file,
            client_key_file=config.client_key_file,
            headers=headers,
        )

    def call(self, method: str, path: str, fields: Mapping[str, Any], *, root: str = "api") -> Mapping[str, Any]:
        """The answer to ``fields``, sent as JSON body of a POST or as parameters of a GET, lists repeated.

        ``root`` is where the path begins: "ajax-api" for what only MLflow's own pages ask.
        Network errors, 408, 429 and 5xx are tried three times within seconds, then raise
        SourceUnavailableError. Raises SourceRefusedError, or MissingItemError, at once.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(PassingError),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        return attempts(self._send, method, path, fields, root)

    def pages(self, method: str, path: str, fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The answer and all that follow it by page token."""
        token = ""
        seen: set[str] = set()
        while True:
            answer = self.call(method, path, {**fields, "page_token": token} if token else fields)
            yield answer
            token = next_page_token(answer, self.url)
            if not token:
                return
            if token in seen:
                raise SourceResponseError(f"{self.url} repeats a page of {path} without end")
            seen.add(token)

    def cut(self) -> None:
        self._client.cut()

    def close(self) -> None:
        self._client.close()

    def _send(self, method: str, path: str, fields: Mapping[str, Any], root: str) -> Mapping[str, Any]:
        self._refuse_when_stopped()
        if self._ca_file is not None and not self._ca_file.is_file():
            raise SourceRefusedError(f"mlflow.ca_file {self._ca_file} does not exist")
        post = method == "POST"
        try:
            response = self._client.request(
                method,
                f"{self.url}/{root}/2.0/mlflow/{path}",
                deadline=Deadline.after(self._timeout),
                body=orjson.dumps(fields) if post else None,
                headers={"Content-Type": "application/json"} if post else None,
                params=None if post else {name: _parameter(value) for name, value in fields.items()},
            )
        except HttpFailedError as error:
            raise PassingError(f"{self.url} cannot be reached: {error}") from None
        except ConfigError as error:  # a file of ours that holds the secret
            raise SourceRefusedError(excerpt(str(error))) from None
        return read_answer(
            response, server=self.url, credentials=self._credential_keys, redact=self._credentials.redact
        )

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        self._refuse_when_stopped()

    def _refuse_when_stopped(self) -> None:
        if self._stop.is_set():
            raise SourceUnavailableError("stopped")


def next_page_token(answer: Mapping[str, Any], server: str) -> str:
    """What to ask for the next page with; empty behind the last one. Raises SourceResponseError."""
    token = answer.get("next_page_token")
    if token is None:
        return ""
    if not isinstance(token, str) or not is_unicode(token):
        raise SourceResponseError(f"{server} answered with a next_page_token that is not text")
    return token


def _parameter(value: Any) -> str | list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    wish = error.retry_after if isinstance(error, PassingError) else None
    return _BACKOFF(state) if wish is None else min(wish, _PATIENCE)


def _credentials(config: MlflowConfig) -> tuple[Credentials, str]:
    """What to authenticate with, and the configuration keys that it came from."""
    if config.secret("token"):
        return Credentials(token=config.secret("token")), "mlflow.token"
    if config.username:
        return (
            Credentials(username=config.username, password=config.secret("password")),
            "mlflow.username and mlflow.password",
        )
    if found := Credentials.from_url(config.tracking_uri):
        return found, "the user and password in mlflow.tracking_uri"
    return Credentials(), ""
