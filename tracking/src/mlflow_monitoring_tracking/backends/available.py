"""The back ends that a configuration asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_monitoring_tracking.backends.contract import Backend
from mlflow_monitoring_tracking.backends.local import LocalBackend
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.settings import Settings


def _tell(name: str, reason: str) -> None:
    event("backend_unavailable", logging.WARNING, platform=name, reason=reason)


def backends(settings: Settings, unavailable: Callable[[str, str], None] = _tell) -> dict[str, Backend]:
    """By name. One whose packages are missing is left out; ``unavailable`` hears its name, and what to install."""
    made: dict[str, Backend] = {}
    for name, make in (("mlflow", _mlflow), ("local", _local)):
        try:
            backend = make(settings)
        except ImportError as error:
            unavailable(name, f"{error}; pip install 'mlflow-monitoring-tracking[{name}]'")
            continue
        if backend is not None:
            made[name] = backend
    for name, is_wanted in (
        ("wandb", settings.wandb.enabled),
        ("database", settings.database.enabled or bool(settings.database.url)),
        ("storage", settings.storage.type != "local"),
    ):
        if is_wanted:
            event("backend_unavailable", logging.WARNING, platform=name, reason="this release does not send to it yet")
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
