"""The shape of config.yaml, block by block. docs/reference/configuration.md explains every key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from mlflow_monitoring_exporter.config.fields import (
    Duration,
    DurationOrZero,
    Listen,
    Since,
    Size,
    Words,
    check_database_url,
    check_http_url,
)
from mlflow_monitoring_exporter.config.section import ExporterConfig, Section


class MlflowConfig(Section):
    """Which MLflow is read, and how."""

    tracking_uri: str = Field(
        "sqlite:///mlflow.db",
        description="http(s):// tracking server, or its store: sqlite:///, postgresql:// or mysql://",
    )
    username: str | None = Field(None, description="basic authentication")
    password: SecretStr | None = None
    password_file: Path | None = None
    token: SecretStr | None = Field(None, description="bearer token, instead of username and password")
    token_file: Path | None = None
    timeout: Duration = Field(30.0, description="total time for one request, retries not included")
    ca_file: Path | None = Field(None, description="PEM bundle that the server's certificate is checked against")
    workspace: str | None = Field(None, description="sent as X-MLFLOW-WORKSPACE")

    @field_validator("tracking_uri")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        scheme = urlsplit(value).scheme
        if scheme in ("http", "https"):
            return check_http_url(value)
        if scheme == "sqlite":
            if not value.startswith("sqlite:///") or len(value) == len("sqlite:///"):
                raise ValueError("must name a file: sqlite:///relative.db or sqlite:////absolute.db")
            return value
        if scheme.partition("+")[0] in ("postgresql", "mysql"):
            return check_database_url(value)
        raise ValueError(
            f"{scheme or 'a plain path'} is not supported: use http://, https://, sqlite:///, postgresql:// or mysql://"
        )

    @model_validator(mode="after")
    def _one_way_to_authenticate(self) -> Self:
        if self.secret("token") and (self.username or self.secret("password")):
            raise ValueError("give either token or username and password, not both")
        if bool(self.username) != bool(self.secret("password")):
            raise ValueError("username and password (or password_file) go together")
        return self


class PatternFilter(Section):
    """Shell-style patterns (``*``, ``?``, ``[a-z]``), matched against whole names, case included."""

    include: Words = ("*",)
    exclude: Words = ()


class SweepConfig(Section):
    """The slow search for what no filter finds: late points, edited tags, runs that are gone or back."""

    page: int = Field(100, ge=1, le=1000, description="runs that one step looks at again")
    every: Duration = Field(60.0, description="time between two steps")


class ExportConfig(Section):
    """How often MLflow is polled, and what of it is exported."""

    interval: Duration = Field(60.0, description="time between the starts of two polls")
    jitter: DurationOrZero = Field(0.0, description="each poll is moved by up to this much, earlier or later")
    max_experiments: int = Field(10, ge=0, description="newest activity first; 0 means all")
    experiments: PatternFilter = PatternFilter()
    metrics: PatternFilter = PatternFilter()
    tags: Words = Field(
        ("project", "stage", "data_version", "owner"),
        description="patterns of the run tags that sinks may see; everything else stays inside",
    )
    history: bool = Field(True, description="send every point of a metric, not only the latest, to sinks")
    since: Since = Field("all", description="how far back the first load of a sink goes")
    sweep: SweepConfig = SweepConfig()
    concurrency: int = Field(4, ge=1, le=32, description="requests to the tracking server at the same time")
    drain_timeout: Duration = Field(30.0, description="how long export-once and a stopping daemon go on delivering")


class GaugesConfig(Section):
    """How MLflow's values become gauges."""

    max_series: int = Field(
        10_000, ge=1, description="gauges of MLflow metrics at most: of open runs first, then of the newest"
    )


class StateConfig(Section):
    """Where cursors and the outbox live."""

    url: str = "sqlite:///exporter-state.db"
    max_size: Size = Field(1_000_000_000, description="what may wait for all sinks together, in bytes")
    overflow: Literal["block", "drop_oldest"] = Field(
        "block", description="when a sink's share of max_size is full: read no more for it, or drop its oldest samples"
    )

    @field_validator("url")
    @classmethod
    def _sqlite_file(cls, value: str) -> str:
        if not value.startswith("sqlite:///") or len(value) == len("sqlite:///"):
            raise ValueError("must name an SQLite file: sqlite:///relative.db or sqlite:////absolute.db")
        return value


class WebConfig(Section):
    """The daemon's own HTTP endpoint: /metrics, /livez, /readyz."""

    listen: Listen = "127.0.0.1:9797"
    tls_cert_file: Path | None = Field(None, description="PEM certificate chain; with tls_key_file, serves HTTPS")
    tls_key_file: Path | None = None
    username: str | None = Field(None, description="basic authentication for every page")
    password: SecretStr | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if bool(self.username) != bool(self.secret("password")):
            raise ValueError("username and password (or password_file) go together")
        return self


class LoggingConfig(Section):
    """The log: on standard error, and in a file if one is named."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] | None = Field(
        None, description="default: console on a terminal, json otherwise"
    )
    file: Path | None = None
    retention_days: int = Field(90, ge=1, description="the log file rotates daily; older ones are deleted")
    audit_file: Path | None = Field(None, description="what was configured, reloaded, replayed, purged or parked")
    audit_retention_days: int = Field(2557, ge=1, description="seven years")


class Settings(Section):
    """The blocks whose shape does not depend on installed exporters."""

    mlflow: MlflowConfig = MlflowConfig()
    export: ExportConfig = ExportConfig()
    gauges: GaugesConfig = GaugesConfig()
    state: StateConfig = StateConfig()
    web: WebConfig = WebConfig()
    logging: LoggingConfig = LoggingConfig()


class Config(Settings):
    """A whole, valid configuration. Each exporter's block is of its own plugin's type."""

    exporters: dict[str, ExporterConfig]

    def enabled_exporters(self) -> dict[str, ExporterConfig]:
        return {name: block for name, block in self.exporters.items() if block.enabled}
