"""Sends every sample to InfluxDB in its line protocol; to version 1 and 2, and to what takes what they take.

::

    exporters:
      influx:
        type: influx
        url: http://influxdb:8086
        org: acme                                  # version 2: org and bucket; version 1: database
        bucket: mlflow
        token_file: /run/secrets/influx_token      # version 1: username and password
        measurement: mlflow

A point has the tags server (where tracking servers have names), experiment_name, run_id, metric and those of the run
that ``export.tags`` lets out, the fields value and step, and MLflow's own time. A value that is not finite, which
InfluxDB cannot hold, is the field nonfinite. A tag of a run that is called like something that InfluxDB reserves, or
like a field of ours, gets tag_ before its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from mlflow_monitoring_exporter.config.fields import HttpUrl
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import Batch, Sample, nonfinite_name
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.endpoint import AuthenticatedHttp, Endpoint
from mlflow_monitoring_exporter.http import display_url
from mlflow_monitoring_exporter.prometheus.label_lengths import OF_SAMPLES, shortened
from mlflow_monitoring_exporter.prometheus.timeseries import by_series, clamped, spread

#: What tags cannot hold in any way, and what they hold behind a backslash.
_IMPOSSIBLE = re.compile(r"[\\\r\n\x00]")
_SPECIAL = re.compile(r"([,= ])")
#: Names that a tag cannot have: version 1 drops a point whose tag is time, version 2 refuses a request with one of the
#: first three (https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/#naming-restrictions). The others
#: are columns of every query in Flux, and with a field of one name InfluxQL cannot say which of both is meant.
_RESERVED = frozenset(
    {"time", "_field", "_measurement"} | {"_time", "_value", "_start", "_stop"} | {"value", "step", "nonfinite"}
)
_PREFIX = "tag_"


class InfluxConfig(AuthenticatedHttp, BatchExporterConfig):
    """An InfluxDB."""

    type: Literal["influx"]
    url: HttpUrl = Field(description="of the server, without the path of its API")
    database: str | None = Field(None, min_length=1, description="version 1: where to write")
    org: str | None = Field(None, min_length=1, description="version 2: whose bucket")
    bucket: str | None = Field(None, min_length=1, description="version 2: where to write")
    measurement: str = Field("mlflow", pattern=r"^[A-Za-z0-9_.-]+$", description="of every point")

    @model_validator(mode="after")
    def _one_version(self) -> Self:
        if bool(self.org) != bool(self.bucket) or bool(self.database) == bool(self.bucket):
            raise ValueError("needs either database (version 1) or org and bucket (version 2)")
        return self

    @property
    def target(self) -> tuple[str, dict[str, str | list[str]]]:
        """Path and query of what writes."""
        if self.database:
            return "/write", {"db": self.database, "precision": "ms"}
        return "/api/v2/write", {"org": self.org or "", "bucket": self.bucket or "", "precision": "ms"}


class InfluxExporter:
    """One database or bucket."""

    def __init__(self, config: InfluxConfig) -> None:
        self._measurement = config.measurement
        self._path, self._query = config.target
        self._endpoint = Endpoint(config.url, config, credentials=config.credentials_for(config.url, scheme="Token"))

    def start(self) -> None:
        """Nothing lasts but the session, which opens by itself."""

    def check(self) -> None:
        """Write nothing; this checks only credentials and reachability."""
        answer = self._endpoint.send("POST", self._path, body=b"", params=self._query)
        if not self._endpoint.reached(answer) and answer.status != 400:
            raise self._endpoint.refusal(answer)

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        body = "\n".join(self._lines(payload)).encode()
        answer = self._endpoint.send("POST", self._path, deadline=deadline, body=body, params=self._query)
        if not answer.ok:
            raise self._endpoint.refusal(answer)

    def close(self) -> None:
        self._endpoint.close()

    def _lines(self, payload: Batch) -> Iterator[str]:
        """A series takes one point for a time, the last that comes: those of one time are spread."""
        for head, points in by_series(payload.samples, lambda sample: self._measurement + _tags(sample)).items():
            for dated in spread(clamped(points, payload.created_ms)):
                nonfinite = nonfinite_name(dated.value)
                value = f"value={dated.value!r}" if nonfinite is None else f'nonfinite="{nonfinite}"'
                yield f"{head} {value},step={dated.step}i {dated.timestamp_ms}"


def _tags(sample: Sample) -> str:
    run = sample.run
    tags: Mapping[str, str] = {
        **_renamed(run.tags),
        "server": run.server_name or run.tags.get("server", ""),
        "experiment_name": run.experiment_name,
        "run_id": run.run_id,
        "metric": sample.key,
    }
    return "".join(f",{_tag(name)}={_tag(value)}" for name, value in sorted(tags.items()) if name and value)


def _renamed(tags: Mapping[str, str]) -> Mapping[str, str]:
    """The tags by names that InfluxDB takes; one name for one tag."""
    cleaned = {_IMPOSSIBLE.sub("_", name): value for name, value in tags.items()}
    if _RESERVED.isdisjoint(cleaned):
        return cleaned
    found = {name: value for name, value in cleaned.items() if name not in _RESERVED}
    for name in sorted(_RESERVED & cleaned.keys()):
        other = _PREFIX + name
        while other in found:
            other = _PREFIX + other
        found[other] = cleaned[name]
    return found


def _tag(text: str) -> str:
    """All tags of a series together have 64 KiB, and one that is refused takes its whole request with it."""
    return _SPECIAL.sub(r"\\\1", shortened(_IMPOSSIBLE.sub("_", text), OF_SAMPLES))


plugin = ExporterPlugin(
    config=InfluxConfig,
    create=InfluxExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: f"{display_url(config.url)} {config.database or config.bucket}",
)
