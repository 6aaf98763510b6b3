"""The shape of config.yaml, block by block. docs/reference/configuration.md explains every key."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from mlflow_monitoring_exporter.config.alerts import AlertConfig, AlertName
from mlflow_monitoring_exporter.config.auth import BasicAuth, BasicOrTokenAuth
from mlflow_monitoring_exporter.config.fields import (
    Duration,
    DurationOrZero,
    FamilyName,
    LabelName,
    LabelOrigin,
    Listen,
    Pattern,
    Since,
    Size,
    Words,
    check_database_url,
    check_http_url,
    check_rename,
    scheme_of,
    split_commas,
)
from mlflow_monitoring_exporter.config.notifications import LinksConfig, NotificationsConfig
from mlflow_monitoring_exporter.config.section import ExporterConfig, PatternFilter, Section
from mlflow_monitoring_exporter.config.tls import ClientTls
from mlflow_monitoring_exporter.core.disclosure import is_plain
from mlflow_monitoring_exporter.core.redaction import USERINFO


class MlflowConfig(ClientTls, BasicOrTokenAuth):
    """Which MLflow is read, and how. Of several, each has a name, which tells apart what comes from them."""

    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="the label server of everything that is read"
    )
    tracking_uri: str = Field(
        "sqlite:///mlflow.db",
        description="http(s):// tracking server, or its store: sqlite:///, postgresql:// or mysql://",
    )
    timeout: Duration = Field(30.0, description="total time for one request, retries not included")
    workspace: str | None = Field(None, description="sent as X-MLFLOW-WORKSPACE")
    public_url: str | None = Field(
        None, description="where people open MLflow, for links; default: tracking_uri, if it is http:// or https://"
    )

    @property
    def link(self) -> str:
        """What links to MLflow begin with, without a slash at the end; empty where nothing is known."""
        known = self.public_url or (self.tracking_uri if scheme_of(self.tracking_uri) in ("http", "https") else "")
        return USERINFO.sub("", known).rstrip("/")

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        return value if value is None else check_http_url(value)

    @field_validator("tracking_uri")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        scheme = scheme_of(value)
        if scheme in ("http", "https"):
            return check_http_url(value)
        if scheme == "sqlite":
            if not value.startswith("sqlite:///") or len(value) == len("sqlite:///"):
                raise ValueError("must name a file: sqlite:///relative.db or sqlite:////absolute.db")
            return value
        if scheme.partition("+")[0] in ("postgresql", "mysql"):
            return check_database_url(value)
        # What has no // behind its colon may be user:password.
        said = (
            scheme
            if f"{scheme}://" in value.lower() and is_plain(scheme)
            else "this"
            if ":" in value
            else "a plain path"
        )
        raise ValueError(f"{said} is not supported: use http://, https://, sqlite:///, postgresql:// or mysql://")


class MetricsConfig(PatternFilter):
    """Which metric keys are exported, what they are called in Prometheus, and which values are better."""

    rename: Mapping[Pattern, FamilyName] = Field(
        {}, description="pattern of keys: name of the family; each * of the name is what the pattern's * matched"
    )
    direction: Mapping[Pattern, Literal["min", "max"]] = Field(
        {}, description="pattern of keys: whether small (min) or large (max) values are better"
    )

    @field_validator("rename")
    @classmethod
    def _no_more_stars(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return check_rename(value)


class SweepConfig(Section):
    """The slow search for what no filter finds: late points, edited tags, runs that are gone or back."""

    page: int = Field(100, ge=1, le=1000, description="runs that one step looks at again")
    every: Duration = Field(60.0, description="time between two steps")


class ExportConfig(Section):
    """How often MLflow is polled, and what of it is exported."""

    interval: Duration = Field(60.0, description="time between the starts of two polls")
    runs_interval: Duration = Field(
        10.0, description="time between two looks at runs and metrics alone; at most interval"
    )
    jitter: DurationOrZero = Field(0.0, description="each poll is moved by up to this much, earlier or later")
    max_experiments: int = Field(10, ge=0, description="newest activity first; 0 means all")
    experiments: PatternFilter = PatternFilter()
    metrics: MetricsConfig = MetricsConfig()
    tags: Words = Field(
        ("project", "stage", "data_version", "owner"),
        description="patterns of the run tags that sinks may see; everything else stays inside",
    )
    history: bool = Field(True, description="send every point of a metric, not only the latest, to sinks")
    since: Since = Field("all", description="how far back the first load of a sink goes")
    sweep: SweepConfig = SweepConfig()
    concurrency: int = Field(4, ge=1, le=32, description="requests to the tracking server at the same time")
    drain_timeout: Duration = Field(30.0, description="how long export-once and a stopping daemon go on delivering")

    @property
    def between_polls(self) -> float:
        """Seconds between the starts of two polls, those of runs alone included."""
        return min(self.interval, self.runs_interval)


class ShownRunsConfig(Section):
    """Which runs have series of their own, besides all that have not ended; per experiment."""

    last: int = Field(20, ge=0, description="those that ended last")
    best: int = Field(5, ge=0, description="those with the best value")
    by: Words = Field(
        (),
        description="patterns of keys: the first that an experiment has; default: its first of known direction",
    )


class LabelsConfig(Section):
    """The labels of the series of runs."""

    add: Mapping[LabelName, LabelOrigin] = Field({}, description="label: tag.<name> or param.<name> of the run")
    drop: Annotated[
        tuple[Literal["experiment_name", "run_id", "model_stage", "metric"], ...], BeforeValidator(split_commas)
    ] = Field((), description="labels of ours to leave out; of series that become the same, one stays")
    max_values: int = Field(100, ge=1, description="different values of one added label; what is more becomes other")


class GaugesConfig(Section):
    """How MLflow's values become gauges."""

    max_series: int = Field(
        10_000, ge=1, description="series at most, in fair shares: which runs there are, then aggregates and metrics"
    )
    max_label_length: int = Field(
        200, ge=64, description="bytes of a label's value; a longer one is cut, and ends in a hash of the whole"
    )
    runs: ShownRunsConfig = ShownRunsConfig()
    candidates: Literal["best", "each"] = Field(
        "best", description="runs nested in another count as one with it, by the best of them, or each for itself"
    )
    naming: Literal["families", "generic"] = Field(
        "families", description="mlflow_<key>, or mlflow_run_metric with the label metric for all"
    )
    labels: LabelsConfig = LabelsConfig()
    stalled_after: Duration = Field(3600.0, description="a run that is RUNNING and silent for this long is stalled")
    stalled_gaps: float = Field(10.0, gt=0, description="or for this many times its own usual gap between metrics")
    orphaned_after: Duration = Field(86_400.0, description="a stalled run that is silent for this long is orphaned")


class StateConfig(Section):
    """Where cursors and the outbox live."""

    url: str = Field(
        "sqlite:///exporter-state.db", description="sqlite:/// for one daemon, postgresql:// for many replicas"
    )
    password: SecretStr | None = Field(None, description="of the user in a postgresql:// url")
    password_file: Path | None = None
    lease: Annotated[Duration, Field(ge=1.0)] = Field(
        8.0, description="for how long a replica may be silent before the others take over from it"
    )
    max_size: Size = Field(1_000_000_000, description="what may wait for all sinks together, in bytes")
    overflow: Literal["block", "drop_oldest"] = Field(
        "block", description="when a sink's share of max_size is full: read no more for it, or drop its oldest samples"
    )

    @field_validator("url")
    @classmethod
    def _file_or_server(cls, value: str) -> str:
        if scheme_of(value).partition("+")[0] == "postgresql":
            return check_database_url(value)
        if not value.startswith("sqlite:///") or len(value) == len("sqlite:///"):
            raise ValueError(
                "must name an SQLite file (sqlite:///relative.db, sqlite:////absolute.db) or postgresql://host/database"
            )
        return value


class TrackingConfig(Section):
    """A spool of the tracking library, whose runs this daemon sends and counts."""

    spool_dir: Path | None = Field(None, description="directory of runs that trainings write; needs the extra tracking")
    server: str | None = Field(None, description="name of the tracking server that gets them; default: the first")
    adopt_after: Duration = Field(
        15.0, description="a run is ended as KILLED when its processes are gone and it was silent for this long"
    )
    keep: DurationOrZero = Field(0.0, description="how long a run stays in the spool after everything of it was sent")

    @field_validator("spool_dir")
    @classmethod
    def _library(cls, value: Path | None) -> Path | None:
        if value is not None and find_spec("mlflow_monitoring_tracking") is None:
            raise ValueError("needs mlflow-monitoring-tracking: pip install 'mlflow-monitoring-exporter[tracking]'")
        return value


class AnalysisConfig(Section):
    """What the daemon computes of the finished runs of each experiment, beside what it counts."""

    every: Duration | None = Field(None, description="time between two analyses; default: none are made")
    runs: int = Field(200, ge=2, le=10_000, description="of each experiment the newest ones that finished")
    importance: bool = Field(
        True, description="which parameters a metric depends on, where the extra analysis is installed"
    )


class WebConfig(BasicAuth):
    """The daemon's own HTTP endpoint: /metrics, /livez, /readyz."""

    listen: Listen = "127.0.0.1:9797"
    tls_cert_file: Path | None = Field(None, description="PEM certificate chain; with tls_key_file, serves HTTPS")
    tls_key_file: Path | None = None
    username: str | None = Field(None, description="basic authentication for every page")

    @model_validator(mode="after")
    def _certificate(self) -> Self:
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file go together")
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
    tracking: TrackingConfig = TrackingConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    web: WebConfig = WebConfig()
    logging: LoggingConfig = LoggingConfig()
    alerts: Mapping[AlertName, AlertConfig] = Field({}, description="name: a condition, for prometheus rules generate")
    notifications: NotificationsConfig = NotificationsConfig()
    links: LinksConfig = LinksConfig()


class Config(Settings):
    """A whole, valid configuration. Each exporter's block is of its own plugin's type.

    Where ``mlflow`` is a list in the file, it is the first of them here, and ``more_mlflow`` are the others.
    """

    more_mlflow: tuple[MlflowConfig, ...] = ()
    exporters: dict[str, ExporterConfig]

    @property
    def servers(self) -> tuple[MlflowConfig, ...]:
        """Every tracking server that is read."""
        return (self.mlflow, *self.more_mlflow)

    def enabled_exporters(self) -> dict[str, ExporterConfig]:
        return {name: block for name, block in self.exporters.items() if block.enabled}
