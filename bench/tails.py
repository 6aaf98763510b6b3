"""Contestants that read new points of running runs; each logs them itself before its clock starts."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

import orjson
import requests

from bench.contest import Timed
from bench.polling import copied, polling
from bench.store import key

KEYS, STEPS = 10, 10


def ours(url: str, database: str, state: str) -> Timed:
    """One whole poll of a daemon that is up to date: what changed, read, recorded and queued."""
    with copied(state) as copy, polling(url, copy, queue=True) as poller:
        poller.run(complete=False)
        _log(database)
        wall, cpu = time.perf_counter(), time.process_time()
        report = poller.run(complete=False)
        return Timed(report.enqueued["sink"], time.perf_counter() - wall, time.process_time() - cpu)


def bare_requests(url: str, database: str) -> Timed:
    """The runs that are open, then each key that moved from its last step on; parsed, and nothing done about them.

    The last step must be asked for again: a point that is logged without a step has the same one.
    """
    api, session = f"{url}/api/2.0/mlflow", requests.Session()
    last, run_ids = _log(database)
    wall, cpu = time.perf_counter(), time.process_time()
    found = orjson.loads(session.post(f"{api}/experiments/search", json={"max_results": 1000}).content)
    search = {
        "experiment_ids": [item["experiment_id"] for item in found["experiments"]],
        "max_results": 1000,
        "filter": "attributes.status = 'RUNNING'",
    }
    orjson.loads(session.post(f"{api}/runs/search", json=search).content)
    count = 0
    for number in range(KEYS):
        fields: dict[str, Any] = {"run_ids": run_ids, "metric_key": key(number), "max_results": 2500}
        fields |= {"start_step": last, "end_step": last + STEPS}
        answer = orjson.loads(session.get(f"{api}/metrics/get-history-bulk-interval", params=fields).content)
        count += sum(point["step"] > last for point in answer["metrics"])
    return Timed(count, time.perf_counter() - wall, time.process_time() - cpu)


def _log(database: str) -> tuple[int, list[str]]:
    """New points on every open run, as MLflow writes them; the step before them, and the runs' ids."""
    now = int(time.time() * 1000)
    columns = "(run_uuid, key, value, timestamp, step, is_nan)"
    with closing(sqlite3.connect(database)) as connection, connection:
        run_ids = [row[0] for row in connection.execute("SELECT run_uuid FROM runs WHERE status = 'RUNNING'")]
        query = "SELECT max(step) FROM latest_metrics WHERE run_uuid = ?"
        last: int = connection.execute(query, (run_ids[0],)).fetchone()[0]
        rows = [
            (run_id, key(number), step / 7, now + step, step, 0)
            for run_id in run_ids
            for number in range(KEYS)
            for step in range(last + 1, last + STEPS + 1)
        ]
        connection.executemany(f"INSERT INTO metrics {columns} VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.executemany(f"INSERT OR REPLACE INTO latest_metrics {columns} VALUES (?, ?, ?, ?, ?, ?)", rows)
    return last, run_ids
