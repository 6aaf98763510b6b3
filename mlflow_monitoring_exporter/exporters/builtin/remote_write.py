"""Sends every sample by Prometheus remote write: Prometheus itself, VictoriaMetrics, Mimir, Thanos, Cortex, ...

::

    exporters:
      remote_write:
        type: remote_write
        url: http://prometheus:9090/api/v1/write
        job_name: mlflow_metrics
        labels: {cluster: gpu-1}                   # of every series, besides MLflow's
        headers: {X-Scope-OrgID: team-a}           # and username, password, token, each with its _file
        out_of_order_window: 30d                   # as the receiver is told; see late
        late: dead_letter                          # or shift: recorded at the time when it was read

Each point keeps MLflow's time, so that histories of old runs can be queried. A time in the future is clamped: it
would make the receiver refuse everything that comes after it. How a receiver must be set up to take late points, and
what becomes of those that it does not take, is in docs/how-to/remote-write.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import structlog
from pydantic import AfterValidator, Field, model_validator

from mlflow_monitoring_exporter.config.fields import DurationOrZero, HttpUrl, check_label
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PartialExportError, PermanentExportError
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp, Endpoint
from mlflow_monitoring_exporter.exporters.lateness import Lateness
from mlflow_monitoring_exporter.exporters.write_request import Series, encode_v1, encode_v2
from mlflow_monitoring_exporter.http import HttpResponse, display_url
from mlflow_monitoring_exporter.prometheus.timeseries import JOB, Dated, Labels, clamped, spread, to_series

_log = structlog.get_logger(__name__)

#: A receiver of 2.0 says how much it wrote; one that does not say has understood nothing of it.
_PROOF = "X-Prometheus-Remote-Write-Samples-Written"
_HEADERS = {
    "v1": {"Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"},
    "v2": {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
    },
}


class RemoteWriteConfig(AuthenticatedHttp, BatchExporterConfig):
    """A receiver of remote write."""

    type: Literal["remote_write"]
    url: HttpUrl = Field(description="of the receiver, whole: http://prometheus:9090/api/v1/write")
    job_name: str = Field(JOB, min_length=1, description="the label job of every series")
    labels: Mapping[Annotated[str, AfterValidator(check_label)], str] = Field(
        {}, description="more labels of every series: which cluster, which replica"
    )
    protocol: Literal["auto", "v1", "v2"] = Field(
        "auto", description="auto: 2.0 with a receiver that proves to understand it, else 1.0"
    )
    out_of_order_window: DurationOrZero | None = Field(
        None, description="how late the receiver takes a sample; default: it is asked each time"
    )
    late: Literal["dead_letter", "shift"] = Field(
        "dead_letter", description="what becomes of a later one: kept aside, or recorded at the time when it was read"
    )

    @model_validator(mode="after")
    def _late_needs_a_window(self) -> Self:
        if self.late == "shift" and self.out_of_order_window is None:
            raise ValueError("late: shift needs out_of_order_window, or lateness cannot be decided")
        return self


class RemoteWriteExporter:
    """One receiver."""

    def __init__(self, config: RemoteWriteConfig) -> None:
        self._config = config
        self._labels = {**config.labels, "job": config.job_name}
        self._endpoint = Endpoint(config.url, config, credentials=config.credentials_for(config.url))
        self._version = "v1" if config.protocol == "v1" else "v2"
        self._lateness = Lateness(config.out_of_order_window, config.late)

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Write nothing at all, which a receiver takes or at least answers."""
        answer = self._post({}, "v1", None)
        if self._endpoint.reached(answer):
            return
        if not isinstance(refusal := self._endpoint.refusal(answer), PermanentExportError):
            raise refusal

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        """Raises PartialExportError when everything was sent but what comes too late."""
        timed: dict[Labels, list[Dated]] = {}
        late: list[int] = []
        for labels, dated in to_series(payload.samples, self._labels).items():
            judged = self._lateness.judge(labels, clamped(dated, payload.created_ms), payload.created_ms)
            late += judged.late
            if judged.in_time:
                timed[labels] = spread(judged.in_time)
        if timed:
            self._send(timed, deadline)
            self._lateness.sent(timed, payload.samples)
        if late:
            text = f"later than the {self._config.out_of_order_window:g} s that out_of_order_window allows"
            raise PartialExportError(f"{text}; see late", rejected=sorted(late))

    def close(self) -> None:
        self._endpoint.close()

    def _send(self, series: Series, deadline: Deadline) -> None:
        answer = self._post(series, self._version, deadline)
        if self._version == "v2" and not self._proved(answer):
            _log.info("receiver does not support remote write 2.0; falling back to 1.0", url=self._endpoint.where)
            self._version = "v1"
            answer = self._post(series, "v1", deadline)
        if not answer.ok:
            raise self._endpoint.refusal(answer)

    def _proved(self, answer: HttpResponse) -> bool:
        """Whether the answer to a request of 2.0 counts; if not, nothing of it was written."""
        if self._config.protocol == "v2" or _PROOF in answer.headers:
            return True
        return not answer.ok and not isinstance(self._endpoint.refusal(answer), PermanentExportError)

    def _post(self, series: Series, version: str, deadline: Deadline | None) -> HttpResponse:
        body = encode_v2(series) if version == "v2" else encode_v1(series)
        headers = {"Content-Encoding": "snappy", **_HEADERS[version]}
        return self._endpoint.send("POST", deadline=deadline, body=body, headers=headers)


plugin = ExporterPlugin(
    config=RemoteWriteConfig,
    create=RemoteWriteExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: display_url(config.url),
)
