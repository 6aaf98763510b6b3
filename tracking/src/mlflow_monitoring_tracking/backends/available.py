"""The back ends that a configuration asks for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_monitoring_tracking.backends.contract import Backend
from mlflow_monitoring_tracking.backends.local import LocalBackend
from mlflow_monitoring_tracking.backends.traced import traced
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.settings import Settings


def _tell(name: str, reason: str) -> None:
    event("backend_unavailable", logging.WARNING, platform=name, reason=reason)


def backends(settings: Settings, unavailable: Callable[[str, str], None] = _tell) -> dict[str, Backend]:
    """By name. One that cannot be made is left out; ``unavailable`` hears its name, and what to do about it."""
    made: dict[str, Backend] = {}
    for name, make in _BACKENDS.items():
        try:
            backend = make(settings)
        except ImportError as error:
            unavailable(name, f"{error}; pip install 'mlflow-monitoring-tracking[{name}]'")
        except ValueError as error:
            unavailable(name, str(error))
        else:
            if backend is not None:
                made[name] = traced(backend, settings.tracing)
    return made


def _local(settings: Settings) -> Backend | None:
    return LocalBackend(settings) if settings.local.enabled else None


def _mlflow(settings: Settings) -> Backend | None:
    wanted = settings.mlflow
    if wanted.enabled is False or not wanted.tracking_uri:
        return None
    address = wanted.tracking_uri
    if urlsplit(address).scheme in {"http", "https"}:
        from mlflow_monitoring_tracking.backends.mlflow.backend import MLflowBackend
        from mlflow_monitoring_tracking.backends.mlflow.client import RestClient

        return MLflowBackend(RestClient(address, wanted), wanted)
    if "://" not in address or urlsplit(address).scheme == "file":
        directory = urlsplit(address).path if address.startswith("file:") else address
        address = f"sqlite:///{Path(directory).absolute()}/mlflow.db"
        event("sync_delayed", platform="mlflow", reason=f"MLflow 3 keeps no runs in directories: they go to {address}")
    from mlflow_monitoring_tracking.backends.mlflow.backend import MLflowBackend
    from mlflow_monitoring_tracking.backends.mlflow.store import StoreClient

    return MLflowBackend(StoreClient(address), wanted)


def _database(settings: Settings) -> Backend | None:
    wanted = settings.database
    if wanted.enabled is False or not (wanted.enabled or wanted.url):
        return None
    if not wanted.url:
        raise ValueError("database.url is needed, for example sqlite:///runs.db; or the variable TRACKING_DB_URL")
    from mlflow_monitoring_tracking.backends.database.backend import DatabaseBackend

    return DatabaseBackend(wanted.url)


def _wandb(settings: Settings) -> Backend | None:
    if not settings.wandb.enabled:
        return None
    if (mode := os.environ.get("WANDB_MODE", "online")) in {"offline", "disabled", "dryrun"}:
        raise ValueError(f"nothing is sent, as the variable WANDB_MODE is {mode}")
    from mlflow_monitoring_tracking.backends.wandb.backend import WandbBackend

    return WandbBackend(settings.wandb)


def _storage(settings: Settings) -> Backend | None:
    if settings.storage.type == "local":
        return None
    from mlflow_monitoring_tracking.backends.storage import s3

    return s3(settings.storage)


_BACKENDS: Mapping[str, Callable[[Settings], Backend | None]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
    "database": _database,
    "storage": _storage,
    "local": _local,
}
