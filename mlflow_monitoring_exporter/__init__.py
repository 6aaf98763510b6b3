"""Keeps monitoring platforms in step with an MLflow tracking server."""

__version__ = "0.2.0"
