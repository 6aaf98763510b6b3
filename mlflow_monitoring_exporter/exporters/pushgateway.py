"""Keeps a Prometheus Pushgateway in step: one group per experiment, replaced whole.

::

    exporters:
      pushgateway:
        type: pushgateway
        gateway: localhost:9091        # http:// unless it says https://
        job_name: mlflow_metrics
        username: pusher               # optional, with password or password_file
        password_file: /run/secrets/pushgateway_password
        timeout: 10s                   # total, per request
        ca_file: /etc/ssl/private-ca.pem

A group is ``job`` + ``experiment_id``. PUT replaces it, so a run that is gone is gone there too;
POST would leave families behind that no longer exist. Scrape it with ``honor_labels: true``.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from mlflow_monitoring_exporter.config.fields import Duration, HttpUrl
from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.errors import PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.exporters.answers import to_error
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.exposition import encode_text
from mlflow_monitoring_exporter.http import Credentials, HttpClient, HttpFailedError, display_url
from mlflow_monitoring_exporter.model import Snapshot


def _with_scheme(value: object) -> object:
    return f"http://{value}" if isinstance(value, str) and "://" not in value else value


class PushgatewayConfig(ExporterConfig):
    """A Pushgateway."""

    type: Literal["pushgateway"]
    gateway: Annotated[HttpUrl, BeforeValidator(_with_scheme)] = Field(description="host:port, or a URL")
    job_name: str = Field("mlflow_metrics", min_length=1, description="the label job of every series")
    username: str | None = Field(None, description="basic authentication")
    password: SecretStr | None = None
    password_file: Path | None = None
    timeout: Duration = Field(10.0, description="total time for one request")
    ca_file: Path | None = Field(None, description="PEM bundle that the server's certificate is checked against")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if bool(self.username) != bool(self.secret("password")):
            raise ValueError("username and password (or password_file) go together")
        return self


def _grouping(name: str, value: str) -> str:
    """One ``/name/value`` of a group's path; values that a path cannot carry go as base64.

    A path cannot carry ``.`` and ``..`` either: clients and servers resolve them.
    """
    if value.strip(".") and "/" not in value:
        return f"/{name}/{quote(value, safe='')}"
    return f"/{name}@base64/{urlsafe_b64encode(value.encode()).decode().rstrip('=') or '='}"


class PushgatewayExporter:
    """One Pushgateway. Remembers which groups it pushed, and deletes those that end."""

    def __init__(self, config: PushgatewayConfig) -> None:
        self._config = config
        self._where = display_url(config.gateway)
        credentials = Credentials.from_url(config.gateway)
        if config.username is not None:
            credentials = Credentials(username=config.username, password=config.secret("password"))
        self._client = HttpClient(credentials=credentials, ca_file=config.ca_file, max_body=1 << 24)
        self._pushed: set[str] = set()

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Read the gateway's status, which needs the same credentials as a push."""
        self._send("GET", "/api/v1/status", Deadline.after(self._config.timeout), what="its status")

    def export(self, payload: Snapshot, *, deadline: Deadline) -> None:
        """Replace the group of every experiment.

        A group that the gateway refuses does not keep the others from being pushed.
        """
        refused: list[str] = []
        for experiment_id, families in payload.groups.items():
            try:
                if families:
                    self._put(experiment_id, encode_text(families), deadline)
                elif experiment_id in self._pushed:
                    self._delete(experiment_id, deadline)
            except PermanentExportError as error:
                refused.append(str(error))
        for experiment_id in sorted(self._pushed - payload.groups.keys()):
            self._delete(experiment_id, deadline)
        if refused:
            raise PermanentExportError("; ".join(refused))

    def close(self) -> None:
        self._client.close()

    def _put(self, experiment_id: str, body: bytes, deadline: Deadline) -> None:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        self._send(
            "PUT", self._path(experiment_id), deadline, what=f"experiment {experiment_id}", body=body, headers=headers
        )
        self._pushed.add(experiment_id)

    def _delete(self, experiment_id: str, deadline: Deadline) -> None:
        self._send("DELETE", self._path(experiment_id), deadline, what=f"experiment {experiment_id}")
        self._pushed.discard(experiment_id)

    def _path(self, experiment_id: str) -> str:
        return f"/metrics{_grouping('job', self._config.job_name)}{_grouping('experiment_id', experiment_id)}"

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        what: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        try:
            answer = self._client.request(
                method,
                self._config.gateway + path,
                deadline=deadline.earlier(self._config.timeout),
                body=body,
                headers=headers,
            )
        except HttpFailedError as error:
            raise RetryableExportError(f"{self._where}: {error}") from None
        if not answer.ok:
            text = f"{self._where} answered {self._client.describe(answer)} ({what})"
            raise to_error(answer, text)


plugin = ExporterPlugin(
    config=PushgatewayConfig,
    create=PushgatewayExporter,
    mode=DeliveryMode.LATEST,
    target=lambda config: f"{display_url(config.gateway)} job {config.job_name}",
)
