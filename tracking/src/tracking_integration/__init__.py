"""``mlflow_monitoring_tracking`` under the name that programs of production and of pipelines use."""

from __future__ import annotations

from mlflow_monitoring_tracking import (
    ConfigurationError,
    DataPipelineTracker,
    ExperimentTracker,
    Pipeline,
    ProductionTracker,
    Run,
    alert_manager,
    lineage_tracker,
    log_operation,
    log_prediction,
    main_logger,
    monitor_resources,
    operation,
    operation_logger,
    setup_tracking,
    start_data_pipeline,
    start_experiment,
    start_metrics_server,
    start_production_monitoring,
    tracker,
)

__all__ = [
    "ConfigurationError",
    "DataPipelineTracker",
    "ExperimentTracker",
    "Pipeline",
    "ProductionTracker",
    "Run",
    "alert_manager",
    "lineage_tracker",
    "log_operation",
    "log_prediction",
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
