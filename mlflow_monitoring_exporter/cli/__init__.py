"""Commands: parse, call, print."""

from mlflow_monitoring_exporter.cli.main import main

__all__ = ["main"]
