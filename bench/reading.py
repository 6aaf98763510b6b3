"""Contestants that read everything; each answers with the number of latest metrics that it saw."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

import orjson
import requests

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.reader import SqlSource


def plain_sql(path: str) -> int:
    """Runs, latest metrics and tags into dictionaries."""
    with closing(sqlite3.connect(path)) as connection:
        runs: dict[str, dict[str, object]] = {
            row[0]: {"info": row, "metrics": {}, "tags": {}}
            for row in connection.execute(
                "SELECT run_uuid, experiment_id, name, status, start_time, end_time FROM runs "
                "WHERE lifecycle_stage = 'active'"
            )
        }
        metrics = {run_id: runs[run_id]["metrics"] for run_id in runs}
        tags = {run_id: runs[run_id]["tags"] for run_id in runs}
        query = "SELECT run_uuid, key, value, timestamp, step, is_nan FROM latest_metrics"
        for run_id, key, *point in connection.execute(query):
            metrics[run_id][key] = point  # type: ignore[index]
        for run_id, key, value in connection.execute("SELECT run_uuid, key, value FROM tags"):
            tags[run_id][key] = value  # type: ignore[index]
        return sum(len(values) for values in metrics.values())  # type: ignore[arg-type,misc]


def ours_from_database(path: str) -> int:
    with closing(SqlSource(MlflowConfig(tracking_uri=f"sqlite:///{path}"))) as source:
        ids = [experiment.experiment_id for experiment in source.experiments()]
        return sum(len(run.latest) for page in source.runs(ids) for run in page.runs)


def ours_over_rest(url: str) -> int:
    with closing(RestSource(MlflowConfig(tracking_uri=url), stop=threading.Event())) as source:
        ids = [experiment.experiment_id for experiment in source.experiments()]
        return sum(len(run.latest) for page in source.runs(ids) for run in page.runs)


def bare_requests(url: str) -> int:
    """The same pages, parsed and counted, and nothing else."""
    api = f"{url}/api/2.0/mlflow"
    session = requests.Session()
    found = orjson.loads(session.post(f"{api}/experiments/search", json={"max_results": 1000}).content)
    body = {
        "experiment_ids": [item["experiment_id"] for item in found["experiments"]],
        "max_results": 1000,
        "order_by": ["attributes.start_time ASC"],
    }
    count = 0
    while True:
        answer = orjson.loads(session.post(f"{api}/runs/search", json=body).content)
        count += sum(len(run["data"].get("metrics", ())) for run in answer.get("runs", ()))
        if not answer.get("next_page_token"):
            return count
        body["page_token"] = answer["next_page_token"]
