"""``python -m mlflow_monitoring_exporter`` is ``mlflow-monitoring-exporter``."""

from mlflow_monitoring_exporter.cli import main

main()
