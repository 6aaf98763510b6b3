"""The configuration, with what is promised of its keys. Read by configuration.py; every class is one section.

Times are seconds, sizes bytes; in a file they may be written ``1.5s``, ``10 min``, ``500 MB``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class MLflow:
    """``mlflow``: enabled by default as soon as there is an address."""

    enabled: bool | None = None
    tracking_uri: str | None = None
    experiment_name: str | None = None
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    password_file: str | None = None
    token_file: str | None = None
    workspace: str | None = None
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None


@dataclass(frozen=True, slots=True)
class Wandb:
    """``wandb``: the key is ``WANDB_API_KEY``; without a project, the experiment is one."""

    enabled: bool = False
    project: str | None = None
    entity: str | None = None


@dataclass(frozen=True, slots=True)
class Local:
    """``local``: the spool as a store of its own, kept after every back end has everything."""

    enabled: bool = True
    save_models: bool = True
    save_plots: bool = True
    save_data: bool = True


@dataclass(frozen=True, slots=True)
class AutoLog:
    """``auto_log``: what is recorded of the process and its machine when a run begins."""

    enabled: bool = True
    log_system_info: bool = True
    log_git_info: bool = True
    log_environment: bool = True
    log_git_diff: bool = False
    environment_variables: tuple[str, ...] = ()
    system_metrics: bool = False
    system_metrics_interval: float = 10.0


@dataclass(frozen=True, slots=True)
class Database:
    """``database``: every run in tables of one's own; enabled by default as soon as there is an address."""

    enabled: bool | None = None
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Storage:
    """``storage``: where artifacts go besides the back ends; ``local`` is nowhere else."""

    type: str = "local"
    bucket: str | None = None
    prefix: str = ""
    compression: bool = False


@dataclass(frozen=True, slots=True)
class Performance:
    """``performance``: kept for configurations that have it; the spool needs neither."""

    batch_logging: bool = True
    cache_size_mb: int = 100


@dataclass(frozen=True, slots=True)
class Spool:
    """``spool``: where and how records are kept."""

    dir: str | None = None
    max_bytes: int = 10 * 10**9
    fsync: str = "1s"
    flush_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """``delivery``: how back ends are fed."""

    enabled: bool = True
    interval: float = 5.0
    batch_size: int = 1000
    batch_bytes: int = 900_000
    backoff_min: float = 0.5
    backoff_max: float = 15.0
    breaker_failures: int = 5
    breaker_pause: float = 30.0
    adopt_after: float = 15.0


@dataclass(frozen=True, slots=True)
class Tracing:
    """``tracing``: OpenTelemetry spans of the sender, where an SDK is set up."""

    enabled: bool = False
    sample_rate: float = 0.2


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured."""

    mlflow: MLflow = field(default_factory=MLflow)
    wandb: Wandb = field(default_factory=Wandb)
    local: Local = field(default_factory=Local)
    auto_log: AutoLog = field(default_factory=AutoLog)
    database: Database = field(default_factory=Database)
    storage: Storage = field(default_factory=Storage)
    performance: Performance = field(default_factory=Performance)
    spool: Spool = field(default_factory=Spool)
    delivery: Delivery = field(default_factory=Delivery)
    tracing: Tracing = field(default_factory=Tracing)
    monitoring: Mapping[str, Any] = field(default_factory=dict)
    notifications: Mapping[str, Any] = field(default_factory=dict)
    tracking_dir: str = "tracking"
    models_dir: str | None = None
    artifacts_dir: str | None = None
    mode: str = "online"
    strict: bool = False
    ranks: str = "all"

    @property
    def spool_dir(self) -> Path:
        """Where the spool is."""
        return Path(self.spool.dir) if self.spool.dir else Path(self.tracking_dir) / "spool"
