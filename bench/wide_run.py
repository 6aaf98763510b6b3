"""How soon are all keys of one run read that logs ten thousand of them, over REST?

MLflow tells the history of one key at a time, and such a run shares its keys with no other: there is nothing
to bundle. The yardstick is the cheapest request for each key, as many at once as the exporter may send; it
does nothing about the points. This exporter polls without a pause until nothing is left.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import requests

from bench.contest import Timed, contest, report
from bench.polling import copied, polling, readdress
from bench.polls import stood
from bench.store import Size, key, store
from tests.parts.mlflow_server import MlflowServer

#: As many requests at once as ``polling`` allows.
_CONNECTIONS = 4


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    keys = 1000 if quick else 10_000
    path = store(directory, Size(2, metrics=keys, params=1, experiments=1, running=1))
    state = stood(directory, path, queued=True)
    return [_with_workers(directory, path, state, keys, workers) for workers in (1, 4)]


def _with_workers(directory: Path, path: Path, state: Path, keys: int, workers: int) -> dict[str, Any]:
    live = Path(shutil.copy(path, directory / f"wide-{workers}.db")).resolve()
    server = MlflowServer(directory / f"server-wide-{workers}", database=live, arguments=("--workers", str(workers)))
    ours = Path(shutil.copy(state, directory / f"state-wide-{workers}.db"))
    with server:
        readdress(ours, server.url)
        results = contest(
            {
                "the cheapest requests": ("bench.wide_run:bare_requests", server.url, str(live), str(keys)),
                "this exporter": ("bench.wide_run:exporter", server.url, str(live), str(ours), str(keys)),
            }
        )
    title = f"a new point on each of {keys} keys of one run, over REST, server with {workers} worker(s)"
    return report(title, results, "the cheapest requests", amount="series")


def exporter(url: str, database: str, state: str, keys: str) -> Timed:
    """Polls of a daemon that is up to date, one after the other, until every new point is queued."""
    with copied(state) as copy, polling(url, copy, queue=True) as poller:
        poller.run(complete=False)
        _log(database, int(keys))
        wall, cpu = time.perf_counter(), time.process_time()
        reports = [poller.run(complete=False)]
        while reports[-1].unfinished:
            reports.append(poller.run(complete=False))
        queued = sum(report.enqueued["sink"] for report in reports)
        # What another contestant logged before is new to this one, too.
        assert queued >= int(keys), queued
        return Timed(int(keys), time.perf_counter() - wall, time.process_time() - cpu)


def bare_requests(url: str, database: str, keys: str) -> Timed:
    """The open run, then the whole history of each of its keys; parsed, and nothing done about them."""
    api, session = f"{url}/api/2.0/mlflow", requests.Session()
    run_id = _log(database, int(keys))
    wall, cpu = time.perf_counter(), time.process_time()
    found = orjson.loads(session.post(f"{api}/experiments/search", json={"max_results": 1000}).content)
    search = {
        "experiment_ids": [item["experiment_id"] for item in found["experiments"]],
        "max_results": 1000,
        "filter": "attributes.status = 'RUNNING'",
    }
    orjson.loads(session.post(f"{api}/runs/search", json=search).content)

    def read(numbers: Iterable[int]) -> int:
        own = requests.Session()
        fields = [{"run_id": run_id, "metric_key": key(number)} for number in numbers]
        answers = [orjson.loads(own.get(f"{api}/metrics/get-history", params=each).content) for each in fields]
        return sum(bool(answer["metrics"]) for answer in answers)

    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        count = sum(threads.map(read, [range(n, int(keys), _CONNECTIONS) for n in range(_CONNECTIONS)]))
    return Timed(count, time.perf_counter() - wall, time.process_time() - cpu)


def _log(database: str, keys: int) -> str:
    """One more point on each key of the open run, as rows; its id."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        run_id = str(connection.execute("SELECT run_uuid FROM runs WHERE status = 'RUNNING'").fetchone()[0])
        last = connection.execute("SELECT max(step) FROM latest_metrics WHERE run_uuid = ?", (run_id,)).fetchone()[0]
        now = int(time.time() * 1000)
        rows = [(run_id, key(number), number / 7, now, last + 1, 0) for number in range(keys)]
        columns = "(run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
        connection.executemany(f"INSERT INTO metrics {columns}", rows)
        connection.executemany(f"INSERT OR REPLACE INTO latest_metrics {columns}", rows)
        return run_id
