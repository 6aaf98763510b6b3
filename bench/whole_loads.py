"""Contestants that carry everything from an MLflow to a file; each answers with the number of points.

The yardsticks are what a script does: nothing is selected, remembered, retried or durable before the end.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import requests

from mlflow_monitoring_exporter.exporters.record import iso_utc

_RUNS = 100
_TABLES = {"true": "metrics", "false": "latest_metrics"}


def _written(lines: Iterator[dict[str, Any]], file: BinaryIO) -> int:
    count = 0
    for count, line in enumerate(lines, start=1):  # noqa: B007 - it is the answer
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    file.flush()
    os.fsync(file.fileno())
    return count


def _line(key: str, value: float, timestamp: int, step: int, run: dict[str, Any]) -> dict[str, Any]:
    metadata = {**run, "step": step}
    return {"name": key, "value": value, "timestamp": iso_utc(timestamp), "metadata": metadata}


def sql_to_file(path: str, directory: str, history: str) -> int:
    """Runs and points by plain SQL, written as the same records."""
    with closing(sqlite3.connect(path)) as connection, tempfile.TemporaryFile(dir=directory) as file:
        tags: dict[str, dict[str, str]] = {}
        for run_id, key, value in connection.execute("SELECT run_uuid, key, value FROM tags WHERE key = 'owner'"):
            tags.setdefault(run_id, {})[key] = value
        query = "SELECT run_uuid, e.name FROM runs JOIN experiments e USING (experiment_id)"
        runs = {
            run_id: {"run_id": run_id, "experiment_name": name, "tags": tags.get(run_id, {})}
            for run_id, name in connection.execute(query)
        }
        points = connection.execute(f"SELECT key, value, timestamp, step, run_uuid FROM {_TABLES[history]}")
        return _written((_line(key, value, at, step, runs[run]) for key, value, at, step, run in points), file)


def requests_to_file(url: str, directory: str, history: str) -> int:
    """``runs/search``, and the histories by the cheapest call that a server has, one after the other."""
    session = requests.Session()
    with tempfile.TemporaryFile(dir=directory) as file:
        return _written(_over_rest(session, url, history == "true"), file)


def _over_rest(session: requests.Session, url: str, history: bool) -> Iterator[dict[str, Any]]:  # noqa: FBT001
    api = f"{url}/api/2.0/mlflow"
    found = orjson.loads(session.post(f"{api}/experiments/search", json={"max_results": 1000}).content)
    names = {item["experiment_id"]: item["name"] for item in found["experiments"]}
    body = {"experiment_ids": list(names), "max_results": 1000, "order_by": ["attributes.start_time ASC"]}
    while True:
        answer = orjson.loads(session.post(f"{api}/runs/search", json=body).content)
        runs: dict[str, dict[str, Any]] = {}
        keys: dict[str, list[str]] = {}
        for run in answer.get("runs", ()):
            run_id = run["info"]["run_id"]
            runs[run_id] = {"run_id": run_id, "experiment_name": names[run["info"]["experiment_id"]], "tags": {}}
            for m in run["data"].get("metrics", ()):
                keys.setdefault(m["key"], []).append(run_id)
                if not history:
                    yield _line(m["key"], m["value"], m["timestamp"], m.get("step", 0), runs[run_id])
        for key, ids in keys.items() if history else ():
            for at in range(0, len(ids), _RUNS):
                fields = {"run_id": ids[at : at + _RUNS], "metric_key": key}
                url_of = f"{url}/ajax-api/2.0/mlflow/metrics/get-history-bulk"
                for m in orjson.loads(session.get(url_of, params=fields).content)["metrics"]:
                    yield _line(key, m["value"], m["timestamp"], m["step"], runs[m["run_id"]])
        if not answer.get("next_page_token"):
            return
        body["page_token"] = answer["next_page_token"]


def first_load(uri: str, directory: str) -> int:
    """A first poll that shows gauges and queues nothing: what memory it takes is the question."""
    from bench.polling import polling

    with (
        tempfile.TemporaryDirectory(dir=directory) as place,
        polling(uri, Path(place) / "state.db", queue=False, shown=True) as poller,
    ):
        return poller.run(complete=False).series
