"""How much more do two and three replicas do than one, and what does one cost that has nothing to do?

Processes of the real command on a real PostgreSQL. Delivering is measured against a sink that takes its time, as one
does that is far away; collecting against an MLflow store in a file, which answers at once, so that the processors of
this machine set the limit. Rates are counted between the first and the last arrival.
"""

from __future__ import annotations

import http.server
import os
import re
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import create_engine, text

from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from tests.parts.command import Daemon, continuous
from tests.parts.databases import driver_url, postgresql
from tests.parts.growing_store import Store
from tests.parts.states import drop

_PARTITIONS = 60
_SAMPLES = 500
#: Seconds that the sink far away takes for each request.
_FAR = 0.05
_IDLE = 30.0


@dataclass
class _Arrivals:
    """When samples arrived, and how many with each batch; a batch that comes again counts once."""

    wait: float
    batches: dict[str, tuple[float, int]] = field(default_factory=dict)
    url: str = ""

    @property
    def count(self) -> int:
        return sum(samples for _, samples in list(self.batches.values()))

    def rate(self) -> float:
        """Samples per second, but for those of the first batch."""
        times = sorted(self.batches.values())
        return (self.count - times[0][1]) / (times[-1][0] - times[0][0])


@contextmanager
def _sink(wait: float) -> Iterator[_Arrivals]:
    arrivals = _Arrivals(wait)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(arrivals.wait)
            key, samples = self.headers["Idempotency-Key"], len(orjson.loads(body)["metrics"])
            arrivals.batches.setdefault(key, (time.monotonic(), samples))
            self.send_response(204)
            self.end_headers()

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        arrivals.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1/metrics"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield arrivals
        server.shutdown()


@contextmanager
def _replicas(count: int, directory: Path, url: str, store: Store, sink: str) -> Iterator[list[Daemon]]:
    environment = {
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_EXPORTER_STATE__URL": url,
        "PRAMATHUS_ENDPOINT": sink,
        "PRAMATHUS_API_KEY": "key",
        "PRAMATHUS_ENABLED": "true",
        "MLFLOW_EXPORTER_EXPORTERS__FILE__ENABLED": "false",
        "EXPORT_INTERVAL": "5s",
        "MAX_EXPERIMENTS": "0",
    }
    with ExitStack() as stack:
        running = []
        for number in range(count):
            place = directory / f"{count}-{number}"
            place.mkdir(parents=True)
            running.append(stack.enter_context(continuous(cwd=place, env=environment)))
        yield running


def _delivering(count: int, directory: Path, url: str, batches: int) -> float:
    drop(url)
    database = Database(url)
    outbox = Outbox(database)
    queue = outbox.register(["pramathus"])["pramathus"]
    run = RunContext("http://mlflow", "1", "name", "0" * 32, "run", {"owner": "me"})
    for number in range(batches):
        first = number * _SAMPLES
        samples = [Sample(run, "loss", step, 1_790_000_000_000, 0.5) for step in range(first, first + _SAMPLES)]
        with database.write() as tx:
            outbox.enqueue(tx, queue, samples, batch_size=_SAMPLES, partition=1 + number % _PARTITIONS)
    database.close()
    store = Store(directory / f"{count}.db", runs=0)
    with _sink(_FAR) as arrivals, _replicas(count, directory, url, store, arrivals.url):
        _until(lambda: len(arrivals.batches) == batches)
        return arrivals.rate()


def _collecting(count: int, directory: Path, url: str, store: Store) -> float:
    drop(url)
    with _sink(0.0) as arrivals, _replicas(count, directory, url, store, arrivals.url):
        _until(lambda: arrivals.count >= len(store.truth))
        return arrivals.rate()


def _idle(count: int, directory: Path, url: str, store: Store) -> tuple[float, float]:
    """Milliseconds of processor time, and transactions in the database, for each second of each replica."""
    drop(url)
    with _sink(0.0) as arrivals, _replicas(count, directory, url, store, arrivals.url) as running:
        for daemon in running:
            daemon.wait_for(lambda daemon=daemon: daemon.get("readyz").ok)  # type: ignore[misc]
        time.sleep(5.0)
        before, began = [_cpu(daemon) for daemon in running], time.monotonic()
        transactions = _transactions(url)
        time.sleep(_IDLE)
        seconds = time.monotonic() - began
        spent = sum(_cpu(daemon) - earlier for daemon, earlier in zip(running, before, strict=True))
        return 1000 * spent / seconds / count, (_transactions(url) - transactions) / seconds / count


def _cpu(daemon: Daemon) -> float:
    found = re.search(r"^process_cpu_seconds_total (\S+)$", daemon.get("metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _transactions(url: str) -> int:
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        found: int = connection.execute(
            text("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        ).scalar_one()
    engine.dispose()
    return found


def _until(question: Any) -> None:
    end = time.monotonic() + 300
    while not question():
        assert time.monotonic() < end
        time.sleep(0.05)


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    batches, points = (120, 10) if quick else (1200, 100)
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    with postgresql() as url, tempfile.TemporaryDirectory(dir=directory) as place:
        store = Store(Path(place) / "mlflow.db", experiments=_PARTITIONS, runs=10)
        store.log(points)
        small = Store(Path(place) / "small.db", experiments=3, runs=3)
        print(f"\nreplicas, {os.cpu_count()} processors\n")
        print(f"{'':10}{'delivering, sink 50 ms away':>34}{'collecting':>26}{'idle, each':>34}")
        alone: tuple[float, float] | None = None
        for count in (1, 2, 3):
            here = Path(place) / f"with-{count}"
            delivered = _delivering(count, here / "delivering", url, batches)
            collected = _collecting(count, here / "collecting", url, store)
            cpu, transactions = _idle(count, here / "idle", url, small)
            alone = alone or (delivered, collected)
            ratios = delivered / alone[0], collected / alone[1]
            print(
                f"{count:<10}{delivered:>16,.0f}/s {ratios[0]:>14.2f}x{collected:>14,.0f}/s {ratios[1]:>8.2f}x"
                f"{cpu:>14.1f} ms/s {transactions:>8.1f} tx/s"
            )
            results.append(
                {
                    "benchmark": "replicas",
                    "replicas": count,
                    "delivering": ratios[0],
                    "collecting": ratios[1],
                    "idle_cpu_ms_per_s": cpu,
                    "idle_transactions_per_s": transactions,
                }
            )
    return results
