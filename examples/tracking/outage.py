"""A training whose MLflow dies in the middle: make demo-tracking

Starts a server, then a training; kills the server while the training goes on; starts the server again once the training
is over, sends what is left, and counts what MLflow has.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

STEPS = 40
TRAINING = f"""
import time
from tracking import start_experiment
with start_experiment("outage", "survivor", run_key="survivor") as exp:
    for step in range({STEPS}):
        exp.log_metric("loss", 1 / (step + 1), step=step)
        print(step, flush=True)
        time.sleep(0.1)
"""
BIN = Path(sys.executable).parent


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def start_server(port: int) -> subprocess.Popen[bytes]:
    command = [str(BIN / "mlflow"), "server", "--port", str(port), "--backend-store-uri", "sqlite:///mlflow.db"]
    with Path("mlflow.log").open("ab") as log:
        process = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log, start_new_session=True)
    while True:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return process
        if process.poll() is not None:
            sys.exit(f"the server did not start: {Path('mlflow.log').absolute()}")
        time.sleep(0.2)


def kill(process: subprocess.Popen[bytes]) -> None:
    """With all its workers."""
    os.killpg(process.pid, 9)
    process.wait()


def points() -> int:
    """What MLflow has of the run."""
    with sqlite3.connect("mlflow.db") as store:
        return int(store.execute("SELECT count(*) FROM metrics WHERE key = 'loss'").fetchone()[0])


def main(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    os.chdir(directory)
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
    say("MLflow starts")
    server = start_server(port)
    training = subprocess.Popen([sys.executable, "-c", TRAINING], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    for line in training.stdout:
        if int(line) == STEPS // 2:
            kill(server)
            say(f"MLflow is killed at step {STEPS // 2}; it has {points()} points")
    began = time.monotonic()
    code = training.wait()
    say(f"the training ends with code {code}, {time.monotonic() - began:.1f} s after its last step")
    say("MLflow starts again")
    server = start_server(port)
    try:
        say("$ tracking-spool sync tracking")
        subprocess.run([BIN / "tracking-spool", "sync", "tracking"], check=True)
        found = points()
        say(f"MLflow has {found} of {STEPS} points")
    finally:
        kill(server)
    sys.exit(found != STEPS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
