"""Spools of the tracking library that this process sends for others. Needs the package mlflow-monitoring-tracking."""
