"""State files as earlier commits of this repository wrote them, for tests/state/test_upgrades.py.

    python tests/state/earlier/make.py            # with the development environment, in a clone with the whole history

Of each commit below a worktree is made, and its own command exports a small MLflow store to three sinks: one that
takes everything, one that refuses everything for good, and one that is away and has room for a part only. So each
file holds what was delivered, dead letters, a queue, and series that are still to be read. That of schema 6 also
holds what schema 6 kept as texts in ``meta``: a first load that is not over, a selection, and pauses that platforms
asked for.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

#: The last commit, and an earlier one where the tables differ, of each schema version.
COMMITS = {
    "1": "44a0f53",
    "2-before-since": "31f51f3",
    "2": "037b801",
    "3-before-indexes": "52805f3",
    "3": "21a6265",
    "4": "c29c886",
    "5-before-session": "61b6b4e",
    "5": "3988552",
    "6": "b0a591f",
    "7": "4f0d803",
}
CONFIG = """
mlflow: {{tracking_uri: "sqlite:///mlflow.db"}}
state: {{url: "sqlite:///state.db"{limit}}}
export: {{drain_timeout: 10s, max_experiments: 0{since}}}
exporters:
  prometheus: {{enabled: false}}
  file: {{path: samples.jsonl}}
  away: {{type: pramathus, endpoint: "http://127.0.0.1:9/api/v1/metrics", api_key: key, batch_size: 40}}
  refusing: {{type: pramathus, endpoint: "http://127.0.0.1:{port}/api/v1/metrics", api_key: key, batch_size: 100}}
"""
LIMIT = ", max_size: 20kB"
#: In small transactions, so that the limit is met between two of them.
EXPORT = """
import importlib, sys
from mlflow_monitoring_exporter import cli
for name in ("schedule.poll", "schedule.queueing", "pipeline.enqueue"):
    try:
        module = importlib.import_module(f"mlflow_monitoring_exporter.{name}")
    except ImportError:
        continue
    if hasattr(module, "_POINTS"):
        module._POINTS = 100
sys.argv = ["mlflow-monitoring-exporter", "export-once"]
"""
#: The first releases had no limit of a queue: their poll is cut short instead.
CUT_SHORT = """
from mlflow_monitoring_exporter.core.errors import SourceUnavailableError
from mlflow_monitoring_exporter.pipeline import poll
original, transactions = poll.Poller._queue_chunks, iter(range(3))
def queue_chunks(self, *arguments):
    if next(transactions, None) is None:
        raise SourceUnavailableError("cut short")
    return original(self, *arguments)
poll.Poller._queue_chunks = queue_chunks
"""
#: Only an exporter that begins somewhere has a first load that is remembered.
SINCE = ", since: 2020-01-01"
#: What happens to few, written by the release's own code.
ASKED = """
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.retry_times import RetryTime, RetryTimes
database = Database("sqlite:///state.db")
bits = Outbox(database).register(["file", "refusing"], selections={"refusing": "only a part"})
with database.read() as tx:
    here = tx.exec_driver_sql("SELECT identity FROM server").scalar()
Outbox(database).loaded([bits["file"]], server=here, servers=[here, "http://not-yet"])
RetryTimes(database).put("away", "http://elsewhere", RetryTime(100 * 365 * 86_400, 'HTTP 503: "later"'))
RetryTimes(database).put("pushgateway", "http://elsewhere", RetryTime(1, "over long ago"))
database.close()
"""


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def command(code: Path, directory: Path, *arguments: str) -> None:
    """Run the command, or a script, of one checkout."""
    start = arguments if arguments[0] == "-c" else ("-m", "mlflow_monitoring_exporter", *arguments)
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(
        [sys.executable, *start], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    sys.stderr.write(done.stdout + done.stderr)


def make(name: str, commit: str, port: int, work: Path) -> None:
    """The state file of one commit, and what is in it."""
    code, directory = work / f"code-{name}", work / name
    directory.mkdir()
    subprocess.run(["git", "worktree", "add", "--detach", str(code), commit], cwd=ROOT, check=True, capture_output=True)
    try:
        if not (HERE / "mlflow.db.gz").exists():
            command(code, directory, "generate-sample", "--tracking-uri", "sqlite:///mlflow.db", "--runs", "3")
            with closing(sqlite3.connect(directory / "mlflow.db")) as store:
                store.execute("PRAGMA journal_mode = DELETE")
                store.execute("VACUUM")
            pack(directory / "mlflow.db", HERE / "mlflow.db.gz")
        else:
            (directory / "mlflow.db").write_bytes(gzip.decompress((HERE / "mlflow.db.gz").read_bytes()))
        limit = "" if name == "1" else LIMIT
        (directory / "config.yaml").write_text(
            CONFIG.format(port=port, limit=limit, since=SINCE if name == "6" else "")
        )
        command(code, directory, "-c", EXPORT + (CUT_SHORT if name == "1" else "") + "cli.main()")
        if name == "6":
            command(code, directory, "-c", ASKED)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(code)], cwd=ROOT, check=True)
    with closing(sqlite3.connect(directory / "state.db")) as state:
        state.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pack(directory / "state.db", HERE / f"{name}.db.gz")


def pack(path: Path, to: Path) -> None:
    to.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    work = Path(tempfile.mkdtemp(prefix="earlier-"))
    try:
        for name, commit in COMMITS.items():
            make(name, commit, server.server_port, work)
    finally:
        shutil.rmtree(work)
        server.shutdown()


if __name__ == "__main__":
    main()
