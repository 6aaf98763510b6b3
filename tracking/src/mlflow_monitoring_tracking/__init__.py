"""Track experiments without ever losing a point or holding up a training.

::

    from mlflow_monitoring_tracking import start_experiment

    with start_experiment("my_experiment", "run_001") as exp:
        exp.log_params({"learning_rate": 0.01})
        exp.log_metric("loss", 0.3, step=1)

Every call writes to a file beside the program, the spool, and returns; a sender brings it to MLflow and other
back ends, now or later. docs/how-to/track-experiments.md is the guide.
"""

from __future__ import annotations

__version__ = "0.2.0"

from mlflow_monitoring_tracking.alerts import alert_manager
from mlflow_monitoring_tracking.checking import setup_tracking
from mlflow_monitoring_tracking.configuration import ConfigurationError
from mlflow_monitoring_tracking.lineage import lineage_tracker
from mlflow_monitoring_tracking.operations import log_operation, main_logger, operation, operation_logger
from mlflow_monitoring_tracking.pipelines import DataPipelineTracker, Pipeline, start_data_pipeline
from mlflow_monitoring_tracking.production.tracker import (
    ProductionTracker,
    log_ground_truth,
    log_prediction,
    log_trade_result,
    start_metrics_server,
    start_production_monitoring,
)
from mlflow_monitoring_tracking.resources import monitor_resources
from mlflow_monitoring_tracking.rollouts import ModelDeploymentTracker
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.tracker import ExperimentTracker, start_experiment, tracker

__all__ = [
    "ConfigurationError",
    "DataPipelineTracker",
    "ExperimentTracker",
    "ModelDeploymentTracker",
    "Pipeline",
    "ProductionTracker",
    "Run",
    "__version__",
    "alert_manager",
    "lineage_tracker",
    "log_ground_truth",
    "log_operation",
    "log_prediction",
    "log_trade_result",
    "main_logger",
    "monitor_resources",
    "operation",
    "operation_logger",
    "setup_tracking",
    "start_data_pipeline",
    "start_experiment",
    "start_metrics_server",
    "start_production_monitoring",
    "tracker",
]
