"""How fast is a backlog drained, against a bare loop of the same POSTs?"""

from __future__ import annotations

import multiprocessing
import shutil
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from bench.contest import contest, report
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox

_KINDS = ("pramathus", "remote_write", "otlp", "influx", "file")


class _Sink(BaseHTTPRequestHandler):
    """Takes everything, keeps nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _serve(port: multiprocessing.sharedctypes.Synchronized[int], ready: Event) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Sink) as server:
        port.value = server.server_address[1]
        ready.set()
        server.serve_forever()


@contextmanager
def sink() -> Iterator[str]:
    """A local sink in a process of its own."""
    port, ready = multiprocessing.Value("i", 0), multiprocessing.Event()
    process = multiprocessing.Process(target=_serve, args=(port, ready), daemon=True)
    process.start()
    ready.wait()
    yield f"http://127.0.0.1:{port.value}"
    process.terminate()
    process.join()


def backlog(path: Path, samples: int) -> None:
    """A state file with so many samples waiting for one exporter."""
    path.unlink(missing_ok=True)
    database = Database(f"sqlite:///{path}")
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    runs = [RunContext("http://mlflow", "1", "name", f"{n:032x}", f"run-{n}", {"owner": "me"}) for n in range(100)]
    for first in range(0, samples, 5000):
        steps = range(first, min(first + 5000, samples))
        batch = [Sample(runs[step % 100], "val/loss", step, 1_790_000_000_000 + step, step / 7) for step in steps]
        with database.write() as tx:
            outbox.enqueue(tx, queue, batch, batch_size=500)
    database.close()


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the ratios; ``quick`` is a tenth of the work."""
    samples = 100_000 if quick else 1_000_000
    directory.mkdir(parents=True, exist_ok=True)
    full = directory / "backlog-full.db"
    backlog(full, samples)
    with sink() as url:
        results = contest(
            {
                "a bare loop of the same POSTs": ("bench.draining:bare_posts", str(full), url),
                **{kind: ("bench.draining:ours", str(full), url, kind) for kind in _KINDS},
            }
        )
    title = f"draining a backlog of {samples} samples to a local sink"
    reports = [report(title, results, "a bare loop of the same POSTs", amount="samples")]
    for kind in _KINDS:
        print(f"  {kind}: {samples / results[kind].wall:.0f} samples/s")
    shutil.rmtree(directory / "draining", ignore_errors=True)
    return reports
