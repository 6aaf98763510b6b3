"""A training that is killed loses nothing that it logged; lost answers and killed senders double nothing."""

from __future__ import annotations

import json
import mmap
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.ledger import spool_contents
from mlflow_monitoring_tracking.sending.sender import Sender
from tests.parts.faulty_proxy import FAULTS, FaultyProxy
from tests.parts.mlflow_server import MlflowServer
from tests.parts.scaled import scaled
from tests.tracking.conftest import Truth, environment
from tests.tracking.spools import only_key

POINTS = 10_000
#: Writes down each step once the call is back, where no kill can take it away: in memory that this test shares.
TRAINING = f"""
import mmap, struct, sys
from tracking import start_experiment
with open(sys.argv[1], "r+b") as file:
    acknowledged = mmap.mmap(file.fileno(), 8)
with start_experiment("reliability", "killed") as exp:
    for step in range({POINTS}):
        exp.log_metric("loss", step / 3, step=step)
        acknowledged[:] = struct.pack("<q", step + 1)
"""
_FAST = {"adopt_after": 0.0, "backoff_min": 0.01, "backoff_max": 0.05, "breaker_failures": 10_000, "interval": 0.2}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    with MlflowServer(tmp_path_factory.mktemp("reliable-tracking")) as server:
        yield Truth(server)


def send_everything(spool: Path, url: str) -> None:
    settings = load({"mlflow": {"tracking_uri": url}, "delivery": _FAST, "local": {"enabled": False}}, {})
    made = backends(settings)
    sender = Sender(spool, made, settings.delivery)
    assert sender.run_once(time.monotonic() + 300)
    sender.stop(5.0)
    total = spool_contents(spool).totals["mlflow"]
    assert (total.waiting, total.set_aside, total.lost, total.unaccounted) == (0, 0, 0, 0)


@pytest.mark.timeout(1800)
def test_a_kill_at_any_instant_loses_nothing_that_was_acknowledged(mlflow: Truth, tmp_path: Path) -> None:
    choose = random.Random(7)
    for number in range(scaled(2, 100)):
        here = tmp_path / str(number)
        here.mkdir()
        (here / "acknowledged").write_bytes(bytes(8))
        sending = {} if number % 2 else {"MLFLOW_TRACKING_URI": mlflow.server.url}
        process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, "acknowledged"],
            cwd=here,
            env=environment(**sending),
            stderr=subprocess.PIPE,
        )
        with (here / "acknowledged").open("r+b") as file, mmap.mmap(file.fileno(), 8) as acknowledged:

            def count(memory: mmap.mmap = acknowledged) -> int:
                return int(struct.unpack("<q", memory[:])[0])

            until = choose.randrange(POINTS)
            while count() < until and process.poll() is None:
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            kept = count()
        assert b"Traceback" not in errors, errors.decode()
        spool = here / "tracking" / "spool"
        key = only_key(spool)
        send_everything(spool, mlflow.server.url)
        steps = [step for _, step, _ in mlflow.points(key)]
        assert steps == [*range(len(steps))], "each once, in order"
        assert kept <= len(steps) <= kept + 1, "the last call may have been under way"
        assert mlflow.status(key) == "KILLED"


@pytest.mark.timeout(1800)
def test_lost_answers_and_killed_senders_leave_one_run_and_each_point_once(mlflow: Truth, tmp_path: Path) -> None:
    choose = random.Random(8)
    program = TRAINING.replace(f"range({POINTS})", f"range({2 * POINTS})")
    (tmp_path / "acknowledged").write_bytes(bytes(8))
    offline = environment(TRACKING_MODE="offline")
    subprocess.run([sys.executable, "-c", program, "acknowledged"], cwd=tmp_path, env=offline, check=True)
    spool = tmp_path / "tracking" / "spool"
    key = only_key(spool)

    def sometimes(_request: str) -> str | None:
        return choose.choice(FAULTS) if choose.random() < 0.3 else None

    with FaultyProxy(mlflow.server.url, sometimes) as proxy:
        config = {"delivery": {**_FAST, "batch_size": 200}, "mlflow": {"tracking_uri": proxy.url}}
        (tmp_path / "c.json").write_text(json.dumps(config))
        command = [sys.executable, "-m", "mlflow_monitoring_tracking", "sync", "--config", "c.json", "tracking"]
        for _ in range(scaled(3, 100)):
            sender = subprocess.Popen(
                command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                sender.wait(choose.uniform(0.2, 1.2))
            except subprocess.TimeoutExpired:
                sender.kill()
            sender.wait()
        (tmp_path / "c.json").write_text(json.dumps({**config, "local": {"enabled": True}}))
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [step for _, step, _ in mlflow.points(key)] == [*range(2 * POINTS)]
    assert len(mlflow.runs(key)) == 1
    assert mlflow.status(key) == "FINISHED"
