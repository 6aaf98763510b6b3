"""``sync``: everything gets there, and what does not is told."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mlflow_monitoring_tracking.spool.frames import MAGIC, Frame, read_frames
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.locks import acquire
from tests.tracking.commands import LOGS, LOGS_FOR_EVER, command, segments, tracking_spool, until
from tests.tracking.conftest import Programs, Truth, environment
from tests.tracking.spools import keys, only_key

#: Dead processes count as dead at once, and back ends are given up after a moment.
_FAST = {"delivery": {"interval": 0.2, "adopt_after": 0.2, "backoff_min": 0.01, "backoff_max": 0.02}}


def configured(here: Path, address: str, **more: object) -> list[str]:
    """The options of a configuration that is in no hurry to wait."""
    (here / "c.json").write_text(json.dumps({**_FAST, "mlflow": {"tracking_uri": address, "timeout": 20}, **more}))
    return ["--config", "c.json"]


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server with one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_was_written_offline_is_all_sent_and_once_only(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    key = only_key(offline.spool)
    env = {"MLFLOW_TRACKING_URI": mlflow.server.url}
    for _ in range(2):
        said = tracking_spool(offline.here, "sync", "tracking", env=env)
        assert said.out.endswith("\n1 run, 0 points not sent\n")
        assert said.err == ""
        assert mlflow.points(key) == [("loss", step, step / 2) for step in range(20)]
    assert mlflow.status(key) == "FINISHED"
    assert mlflow.params(key) == {"lr": "0.1"}
    [shown] = tracking_spool(offline.here, "show", "tracking", "--output", "json").json
    assert shown["unsent"] == {"local": 0, "mlflow": 0}
    assert shown["run_ids"]["mlflow"] == mlflow.run(key)
    status = tracking_spool(offline.here, "status", "tracking", "--output", "json").json
    assert status["back_ends"]["mlflow"] == {"logged": 20, "delivered": 20, "waiting": 0, "set_aside": 0, "lost": 0}


def test_progress_is_lines_on_a_pipe(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    first, last = tracking_spool(
        offline.here, "sync", "tracking", env={"MLFLOW_TRACKING_URI": mlflow.server.url}
    ).out.splitlines()
    assert first.startswith("mlflow: 0 points delivered, ")
    assert "kB to go; local: 0 points delivered, " in first
    assert last == "1 run, 0 points not sent"


def test_progress_is_one_line_on_a_terminal(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow_monitoring_tracking", "sync", "tracking"],
        cwd=offline.here,
        env=environment(MLFLOW_TRACKING_URI=mlflow.server.url, COLUMNS="60"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while data := terminal.read(4096):
                seen += data
        except OSError:
            pass  # a terminal whose last program ended
    assert process.wait(60) == 0
    *shown, last = seen.decode().split("\r\x1b[K")
    assert len(shown) >= 2
    assert all("\n" not in line and len(line) < 60 for line in shown)
    assert last == "1 run, 0 points not sent\r\n"


def test_a_run_is_sent_any_number_of_times_while_it_is_written_and_ended_once_it_is_dead(
    offline: Programs, mlflow: Truth
) -> None:
    writer = offline.start(LOGS_FOR_EVER)
    options = configured(offline.here, mlflow.server.url)
    try:
        lines = writer.stdout
        assert lines is not None
        sent = 0
        for acknowledged in (20, 60, 100):
            assert f"{acknowledged}\n" in iter(lines.readline, "")
            said = tracking_spool(offline.here, "sync", *options, "tracking")
            assert said.out.endswith("1 run, 0 points not sent\n")
            key = only_key(offline.spool)
            assert len(mlflow.points(key)) > max(acknowledged, sent)
            sent = len(mlflow.points(key))
            assert mlflow.status(key) == "RUNNING"
    finally:
        writer.kill()
    acknowledged = max(map(int, writer.communicate()[0].split()))
    tracking_spool(offline.here, "sync", *options, "tracking")
    steps = [step for _, step, _ in mlflow.points(key)]
    assert steps[: acknowledged + 1] == list(range(acknowledged + 1))
    assert len(steps) == len(set(steps)) <= acknowledged + 2
    assert mlflow.status(key) == "KILLED"


def test_a_run_that_has_only_just_died_is_waited_for(offline: Programs, mlflow: Truth) -> None:
    offline.run("import os\nfrom tracking import start_experiment\nstart_experiment('e').__enter__()\nos._exit(0)")
    delivery = {"adopt_after": 4, "backoff_max": 0.1}
    options = configured(offline.here, mlflow.server.url, delivery=delivery)
    tracking_spool(offline.here, "sync", *options, "tracking")
    assert mlflow.status(only_key(offline.spool)) == "KILLED"


def test_a_torn_tail_and_a_damaged_frame_cost_themselves_only(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    [path] = segments(offline.spool)
    data = bytearray(path.read_bytes())
    points = [f for f in read_frames(bytes(data), len(MAGIC)) if isinstance(f, Frame) and f.kind == 1]
    data[points[7].end - 2] ^= 1
    path.write_bytes(bytes(data) + data[:9])
    options = configured(offline.here, mlflow.server.url)
    said = tracking_spool(offline.here, "sync", *options, "tracking", code=1)
    assert said.out.endswith(f"0 points not sent, {points[7].end - points[6].end} damaged bytes passed over\n")
    key = only_key(offline.spool)
    assert [step for _, step, _ in mlflow.points(key)] == [step for step in range(20) if step != 7]
    assert mlflow.status(key) == "FINISHED"
    tracking_spool(offline.here, "sync", *options, "tracking")  # it was told once


def test_a_run_that_cannot_be_read_holds_up_no_other(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    offline.run(LOGS)
    bad, good = keys(offline.spool)
    segment = run_directory(offline.spool, bad).segments()[0]
    run_directory(offline.spool, bad).segment(segment).write_bytes(b"something else" * 10)
    options = configured(offline.here, mlflow.server.url)
    said = tracking_spool(offline.here, "sync", *options, "tracking", code=1)
    assert "is no segment of a spool" in said.err
    assert len(mlflow.points(good)) == 20


def test_what_a_back_end_refuses_is_told_once(offline: Programs, mlflow: Truth) -> None:
    offline.run(
        """
        from tracking import start_experiment
        with start_experiment("commands") as exp:
            exp.log_param("lr", 1)
            exp.log_metric("loss", 1)
            exp.flush()
            exp.log_param("lr", 2)
        """
    )
    options = configured(offline.here, mlflow.server.url)
    said = tracking_spool(offline.here, "sync", *options, "tracking", code=1)
    assert said.out.endswith("0 points not sent, 1 record set aside\n")
    assert "warning: record_rejected " in said.err
    tracking_spool(offline.here, "sync", *options, "tracking")
    status = tracking_spool(offline.here, "status", "tracking", code=1).out
    assert "mlflow: 1 record besides points set aside" in status


def test_a_server_that_is_away_leaves_everything_and_says_so(offline: Programs) -> None:
    offline.run(LOGS)
    options = configured(offline.here, "http://me:secret@127.0.0.1:1")
    said = tracking_spool(offline.here, "sync", *options, "tracking", code=1)
    assert "1 run, 20 points not sent, " in said.out
    assert "warning: sync_delayed platform=mlflow " in said.err
    assert "secret" not in said.out + said.err


def test_credentials_that_are_refused_are_told_at_once_and_without_the_server_s_own_colours(offline: Programs) -> None:
    offline.run(LOGS)
    body = json.dumps({"error_code": "PERMISSION_DENIED", "message": "no\x1b[31m\u202e"}).encode()
    with answering(401, body) as address:
        begun = time.monotonic()
        said = tracking_spool(offline.here, "sync", *configured(offline.here, address), "tracking", code=1)
        assert time.monotonic() - begun < 30
    assert "warning: auth_failed platform=mlflow " in said.err
    assert "no\\x1b[31m\\u202e" in said.err


def test_a_run_that_another_process_sends_is_left_to_it(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    lock = acquire(run_directory(offline.spool, only_key(offline.spool)).lock)
    assert lock is not None
    options = configured(offline.here, mlflow.server.url)
    said = tracking_spool(offline.here, "sync", *options, "tracking", code=1)
    assert said.out.endswith("1 run is sent by another process\n")
    lock.release()
    tracking_spool(offline.here, "sync", *options, "tracking")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_sync_that_hangs_in_a_black_hole_ends_cleanly(offline: Programs, sign: signal.Signals) -> None:
    offline.run(LOGS)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        options = configured(offline.here, f"http://127.0.0.1:{hole.getsockname()[1]}")
        process = command(offline.here, "sync", *options, "tracking")
        connection, _ = hole.accept()
        with connection:  # it sends its first request, which nobody answers
            assert connection.recv(1)
            process.send_signal(sign)
            out, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (1, "")
    assert "1 run, 20 points not sent, " in out


def test_a_sidecar_waits_for_a_spool_sends_while_a_run_is_written_and_ends_on_sigterm(
    offline: Programs, mlflow: Truth
) -> None:
    options = configured(offline.here, mlflow.server.url)
    watching = command(offline.here, "sync", "--watch", *options, "tracking")
    assert watching.stdout is not None
    assert watching.stdout.readline() == "waiting for a spool in tracking\n"
    writer = offline.start(LOGS_FOR_EVER)
    try:
        until(lambda: keys(offline.spool))
        key = only_key(offline.spool)
        until(lambda: mlflow.runs(key) and len(mlflow.points(key)) > 20)
        assert mlflow.status(key) == "RUNNING"
        writer.kill()
        until(run_directory(offline.spool, key).complete.exists)  # MLflow has all, and the sender knows
        assert mlflow.status(key) == "KILLED"
        watching.terminate()
        out, err = watching.communicate(timeout=30)
        assert (watching.returncode, err) == (0, "")
        assert out.endswith("1 run, 0 points not sent\n")
    finally:
        watching.kill()
        writer.kill()
        writer.communicate()


def test_a_sidecar_that_never_saw_a_spool_ends_on_sigterm(tmp_path: Path) -> None:
    watching = command(tmp_path, "sync", "--watch", *configured(tmp_path, "http://127.0.0.1:1"), "tracking")
    assert watching.stdout is not None
    assert watching.stdout.readline().startswith("waiting for ")
    watching.terminate()
    assert (watching.communicate(timeout=15)[1], watching.returncode) == ("", 130)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sync", "nowhere"], 1, "nowhere is no directory"),
        (["sync", "."], 78, "set MLFLOW_TRACKING_URI"),
        (["sync", "--config", "none.yaml", "."], 78, "none.yaml cannot be read"),
        (["sync", "--config", "wrong.json", "."], 78, "wrong.json: spool.fsyc: there is no such key; did you mean"),
        ([], 2, "usage"),
        (["frobnicate"], 2, "invalid choice"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "wrong.json").write_text('{"spool": {"fsyc": "1s"}}')
    assert said in tracking_spool(tmp_path, *arguments, code=code).err


def test_the_environment_names_the_configuration(offline: Programs, mlflow: Truth) -> None:
    offline.run(LOGS)
    configured(offline.here, mlflow.server.url)
    tracking_spool(offline.here, "sync", "tracking", env={"TRACKING_CONFIG_PATH": "c.json"})
    assert mlflow.status(only_key(offline.spool)) == "FINISHED"
