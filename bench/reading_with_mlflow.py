"""What most people would use."""

from __future__ import annotations

from mlflow import MlflowClient


def mlflow_client(uri: str) -> int:
    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    count, token = 0, None
    while True:
        page = client.search_runs(ids, max_results=1000, page_token=token)
        count += sum(len(run.data.metrics) for run in page)
        token = page.token
        if not token:
            return count
