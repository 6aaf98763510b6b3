"""The same questions, asked as most people would."""

from __future__ import annotations

from mlflow import MlflowClient

_METRIC = "val/accuracy"


def best(uri: str) -> int:
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return len(client.search_runs(ids, max_results=10, order_by=[f"metrics.`{_METRIC}` DESC"]))


def newest(uri: str) -> int:
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return len(client.search_runs(ids, max_results=10))


def listed(uri: str) -> int:
    return len(MlflowClient(uri).search_experiments())
