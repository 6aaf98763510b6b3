"""Keeps a Prometheus Pushgateway in step: what it holds is compared with what it should hold.

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

A group is ``job`` + ``experiment_id``, and ``server`` where tracking servers have names; the registry's has an
empty ``experiment_id``. PUT replaces it, so a run that
is gone is gone there too; POST would leave families behind that no longer exist. A group is pushed
when it changed, and when the gateway does not hold what was pushed last: a gateway that is killed may
have acknowledged more than it wrote down. Groups with exactly these labels and our job are ours,
whoever pushed them: they are deleted once no experiment stands behind them. No other group is touched; of the
servers that another replica shows, none either.
Scrape it with ``honor_labels: true``.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal
from urllib.parse import quote

import orjson
import structlog
from pydantic import BeforeValidator, Field

from mlflow_monitoring_exporter.config.fields import HttpUrl
from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.errors import PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import BasicAuth, Endpoint, HttpSettings
from mlflow_monitoring_exporter.exporters.exposition import TEXT, Encoder
from mlflow_monitoring_exporter.exporters.timeseries import JOB
from mlflow_monitoring_exporter.http import Credentials, HttpResponse, display_url
from mlflow_monitoring_exporter.model import Family, Snapshot, group_of, split_group

_log = structlog.get_logger(__name__)

#: Every group with every series, as JSON (https://github.com/prometheus/pushgateway#query-api).
_LISTING = "/api/v1/metrics"
#: Bytes of that; a hundred thousand series make about thirty million.
_MAX_LISTING = 1 << 28
#: Seconds by which the time of a push and that of its answer may differ; the latter has no fractions.
_SAME_PUSH = 2.0


def _with_scheme(value: object) -> object:
    return f"http://{value}" if isinstance(value, str) and "://" not in value else value


class PushgatewayConfig(HttpSettings, BasicAuth, ExporterConfig):
    """A Pushgateway."""

    type: Literal["pushgateway"]
    gateway: Annotated[HttpUrl, BeforeValidator(_with_scheme)] = Field(description="host:port, or a URL")
    job_name: str = Field(JOB, min_length=1, description="the label job of every series")


def _grouping(name: str, value: str) -> str:
    """One ``/name/value`` of a group's path; values that a path cannot carry go as base64.

    A path cannot carry ``.`` and ``..`` either: clients and servers resolve them.
    """
    if value.strip(".") and "/" not in value:
        return f"/{name}/{quote(value, safe='')}"
    return f"/{name}@base64/{urlsafe_b64encode(value.encode()).decode().rstrip('=') or '='}"


@dataclass(frozen=True, slots=True)
class _Pushed:
    """What the gateway acknowledged, and when by its own clock, in Unix seconds; None if it did not say."""

    families: tuple[Family, ...]
    at: float | None

    def is_held(self, held: Mapping[str, float] | None, group: str) -> bool:
        """Whether the group that is held is the one that was pushed; false when nobody knows."""
        if held is None or group not in held:
            return False
        return self.at is None or abs(held[group] - self.at) < _SAME_PUSH


class PushgatewayExporter:
    """One Pushgateway. Remembers what it pushed to each group."""

    def __init__(self, config: PushgatewayConfig) -> None:
        self._config = config
        credentials = None
        if config.username is not None:
            credentials = Credentials(username=config.username, password=config.secret("password"))
        self._gateway = Endpoint(config.gateway, config, credentials=credentials, max_body=_MAX_LISTING)
        self._encoder = Encoder()
        self._pushed: dict[str, _Pushed] = {}
        self._warned = False

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Read the gateway's status, which needs the same credentials as a push."""
        self._send("GET", "/api/v1/status", None, what="its status")

    def export(self, payload: Snapshot, *, deadline: Deadline) -> None:
        """Make the gateway hold these groups and no others of our job.

        A group that the gateway refuses does not keep the others from being pushed.
        """
        held = self._held(deadline)
        self._encoder.turn()
        refused: list[str] = []
        wanted = {group: families for group, families in payload.groups.items() if families}
        for group, families in wanted.items():
            last = self._pushed.get(group)
            if last is not None and last.families == families and last.is_held(held, group):
                continue
            try:
                self._put(group, families, deadline)
            except PermanentExportError as error:
                refused.append(str(error))
        ours = {split_group(group)[0] for group in payload.groups}
        for group in sorted((self._pushed.keys() | (held or {}).keys()) - wanted.keys()):
            if payload.whole or split_group(group)[0] in ours:
                self._delete(group, deadline)
        if refused:
            raise PermanentExportError("; ".join(refused))

    def close(self) -> None:
        self._gateway.close()

    def _held(self, deadline: Deadline) -> Mapping[str, float] | None:
        """Our groups, and when each was pushed; None when the gateway does not tell."""
        answer = self._gateway.send("GET", _LISTING, deadline=deadline)
        if answer.status in (404, 405):  # older than 1.0, or behind something that lets only pushes through
            if not self._warned:
                self._warned = True
                _log.warning(
                    "the Pushgateway does not list its groups: all are pushed each time", gateway=self._gateway.where
                )
            return None
        if not answer.ok:
            raise self._gateway.refusal(answer, "its groups")
        try:
            groups = orjson.loads(answer.body)["data"]
            return {
                group_of(labels.get("server", ""), labels["experiment_id"]): float(
                    group["push_time_seconds"]["metrics"][0]["value"]
                )
                for group in groups
                if (labels := group["labels"]).keys() - {"server"} == {"job", "experiment_id"}
                and labels["job"] == self._config.job_name
            }
        except (ValueError, TypeError, LookupError, AttributeError):
            raise RetryableExportError(f"{self._gateway.where}{_LISTING} does not answer like a Pushgateway") from None

    def _put(self, group: str, families: tuple[Family, ...], deadline: Deadline) -> None:
        self._pushed.pop(group, None)
        body = self._encoder.text(families)
        answer = self._send("PUT", self._path(group), deadline, what=_what(group), body=body)
        self._pushed[group] = _Pushed(families, _date(answer))

    def _delete(self, group: str, deadline: Deadline) -> None:
        self._send("DELETE", self._path(group), deadline, what=_what(group))
        self._pushed.pop(group, None)

    def _path(self, group: str) -> str:
        server, experiment_id = split_group(group)
        named = _grouping("server", server) if server else ""
        return f"/metrics{_grouping('job', self._config.job_name)}{named}{_grouping('experiment_id', experiment_id)}"

    def _send(
        self, method: str, path: str, deadline: Deadline | None, *, what: str, body: bytes | None = None
    ) -> HttpResponse:
        headers = None if body is None else {"Content-Type": TEXT}
        answer = self._gateway.send(method, path, deadline=deadline, body=body, headers=headers)
        if not answer.ok:
            raise self._gateway.refusal(answer, what)
        return answer


def _what(group: str) -> str:
    """A group for people."""
    server, experiment_id = split_group(group)
    what = f"experiment {experiment_id}" if experiment_id else "the model registry"
    return f"{what} of {server}" if server else what


def _date(answer: HttpResponse) -> float | None:
    """When the answer was given, by the clock of who gave it."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return None


plugin = ExporterPlugin(
    config=PushgatewayConfig,
    create=PushgatewayExporter,
    mode=DeliveryMode.LATEST,
    target=lambda config: f"{display_url(config.gateway)} job {config.job_name}",
)
