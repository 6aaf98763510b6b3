"""What was selected when MLflow was read, as a short text that is kept with it."""

from __future__ import annotations

from hashlib import blake2b

from mlflow_monitoring_exporter.config.schema import ExportConfig
from mlflow_monitoring_exporter.transform.labels import AddedLabels


def what(fingerprint: str) -> str:
    """What is selected, however much of it is read."""
    return fingerprint.rpartition(":")[0]


def extent(fingerprint: str) -> str:
    """How much of what is selected is read."""
    return fingerprint.rpartition(":")[2]


def fingerprint(config: ExportConfig, labels: AddedLabels) -> str:
    """What is selected, and after the colon, how much of it."""
    chosen = config.model_dump_json(include={"experiments": True, "metrics": {"include", "exclude"}, "tags": True})
    digest = blake2b(f"{chosen} {labels}".encode(), digest_size=16).hexdigest()
    return f"{digest}:{'all' if config.history else 'latest'}"
