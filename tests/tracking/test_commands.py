"""``tracking-spool``, as it is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlflow_monitoring_tracking.spool.layout import run_directories
from tests.tracking.conftest import Programs, Truth, environment
from tests.tracking.spools import only_key

_LOGS = """
    from tracking import start_experiment
    with start_experiment("commands", "r\\x1b[31m") as exp:
        for step in range(20): exp.log_metric("loss", step, step=step)
        exp.log_param("lr", 0.1)
"""


def spool(here: Path, *arguments: str, env: Mapping[str, str] | None = None, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mlflow_monitoring_tracking", *arguments],
        cwd=here,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_what_was_written_offline_is_sent_and_shown(offline: Programs, mlflow: Truth) -> None:
    offline.run(_LOGS)
    key = only_key(offline.spool)
    out = spool(offline.here, "sync", "tracking", env={"MLFLOW_TRACKING_URI": mlflow.server.url})
    assert out.endswith("1 runs, 0 points not sent\n")
    assert len(mlflow.points(key)) == 20
    [shown] = json.loads(spool(offline.here, "show", "tracking", "--output", "json"))
    assert (shown["key"], shown["status"], shown["points"]) == (key, "FINISHED", 20)
    assert shown["unsent"] == {"local": 0, "mlflow": 0}
    assert shown["run_ids"]["mlflow"] == mlflow.run(key)
    one = json.loads(spool(offline.here, "show", "--run", key, "tracking", "--output", "json"))
    assert one["params"] == {"lr": "0.1"}
    assert one["metrics"]["loss"]["step"] == 19
    status = json.loads(spool(offline.here, "status", "tracking", "--output", "json"))
    assert status["back_ends"]["mlflow"] == {"logged": 20, "delivered": 20, "waiting": 0, "set_aside": 0, "lost": 0}


def test_what_comes_from_a_spool_reaches_no_terminal_raw(offline: Programs) -> None:
    offline.run(_LOGS)
    for command in (["show", "tracking"], ["show", "tracking", "--run", only_key(offline.spool)]):
        out = spool(offline.here, *command)
        assert "\x1b" not in out
        assert "r\\x1b[31m" in out


def test_a_server_that_is_away_leaves_everything_and_says_so(offline: Programs) -> None:
    offline.run(_LOGS)
    (offline.here / "c.json").write_text(
        json.dumps({"mlflow": {"tracking_uri": "http://me:secret@127.0.0.1:1"}, "delivery": {"backoff_max": 0.01}})
    )
    out = spool(offline.here, "sync", "--config", "c.json", "tracking", code=1)
    assert "1 runs, 20 points not sent" in out
    assert "sync_delayed" in out
    assert "secret" not in out


def test_damage_is_found_and_named(offline: Programs) -> None:
    offline.run(_LOGS)
    assert spool(offline.here, "verify", "tracking").endswith(" 0 problems\n")
    [directory] = run_directories(offline.spool)
    [name] = directory.segments()
    data = bytearray(directory.segment(name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    directory.segment(name).write_bytes(data)
    out = spool(offline.here, "verify", "tracking", code=1)
    assert f"{directory.segment(name)}, byte " in out.replace(str(Path("tracking")), str(offline.here / "tracking"), 1)
    with directory.segment(name).open("ab") as file:
        file.write(b"\xa5Z\x01\x00half a frame")
    assert "not whole" in spool(offline.here, "verify", "tracking", code=1)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "nowhere"], 1, "nowhere is no directory"),
        (["show", ".", "--run", "none"], 1, "there is no run 'none'"),
        (["sync", "."], 78, "set MLFLOW_TRACKING_URI"),
        (["sync", "--config", "none.yaml", "."], 78, "none.yaml cannot be read"),
        (["sync", "--config", "wrong.json", "."], 78, "wrong.json: spool.fsyc: there is no such key; did you mean"),
        ([], 2, "usage"),
        (["frobnicate"], 2, "invalid choice"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "wrong.json").write_text('{"spool": {"fsyc": "1s"}}')
    assert said in spool(tmp_path, *arguments, code=code)


def test_a_sidecar_sends_while_the_run_is_written_and_ends_on_sigterm(offline: Programs, mlflow: Truth) -> None:
    writer = offline.start(
        """
        import time
        from tracking import start_experiment
        exp = start_experiment("commands", "r").__enter__()
        for step in range(10_000):
            exp.log_metric("loss", step, step=step)
            if step == 0: print("begun", flush=True)
            time.sleep(0.02)
        """
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begun\n"
    (offline.here / "c.json").write_text('{"delivery": {"interval": 0.2, "adopt_after": 0.2}}')
    watching = subprocess.Popen(
        [sys.executable, "-m", "mlflow_monitoring_tracking", "sync", "--watch", "--config", "c.json", "tracking"],
        cwd=offline.here,
        env=environment(MLFLOW_TRACKING_URI=mlflow.server.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        key = only_key(offline.spool)
        _until(lambda: mlflow.runs(key) and len(mlflow.points(key)) > 20)
        assert mlflow.status(key) == "RUNNING"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait(10)
        _until(lambda: mlflow.status(key) == "KILLED")
        watching.terminate()
        out, _ = watching.communicate(timeout=30)
        assert watching.returncode == 0
        assert "points not sent" in out
    finally:
        watching.kill()
        writer.kill()


def test_setup_writes_a_configuration_once_and_says_what_works(tmp_path: Path, mlflow: Truth) -> None:
    out = spool(tmp_path, "setup", env={"MLFLOW_TRACKING_URI": mlflow.server.url})
    assert "wrote tracking_config.yaml" in out
    assert f"mlflow: {mlflow.server.url} answers" in out
    out = spool(tmp_path, "setup", env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, code=1)
    assert "stays as it is" in out
    assert "mlflow: does not work" in out


def _until(question: object, within: float = 90.0) -> None:
    assert callable(question)
    end = time.monotonic() + within
    while not question():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.1)
