"""``mlflow_monitoring_tracking`` under the short name that programs use."""

from __future__ import annotations

from mlflow_monitoring_tracking import (
    ConfigurationError,
    ExperimentTracker,
    Run,
    setup_tracking,
    start_experiment,
    tracker,
)

__all__ = ["ConfigurationError", "ExperimentTracker", "Run", "setup_tracking", "start_experiment", "tracker"]
