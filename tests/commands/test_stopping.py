"""Told to stop, every command ends at once with one line; what can still be delivered is."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.parts.bad_server import BadServer, answer, bad_server, hang, slowly
from tests.parts.command import Background, background, continuous
from tests.parts.growing_store import Store, sending
from tests.parts.programs import need
from tests.parts.strict_peer import StrictPeer

#: Seconds: five, on a machine that has nothing else to do; what hangs would hang for a minute.
WITHIN = 20.0


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections, and says nothing to them."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@contextmanager
def hanging() -> Iterator[BadServer]:
    with bad_server(hang()) as server:
        yield server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_ends_though_mlflow_hangs(number: signal.Signals, here: Path) -> None:
    with (
        hanging() as mlflow,
        continuous("--tracking-uri", mlflow.url, "--set", "mlflow.timeout=60s", cwd=here) as daemon,
    ):
        daemon.wait_for(lambda: bool(mlflow.requests))
        assert daemon.stop(number, within=WITHIN) == 0


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_daemon_ends_though_the_database_of_mlflow_hangs(scheme: str, here: Path) -> None:
    with (
        silent() as port,
        continuous(
            "--tracking-uri", f"{scheme}://u:p@127.0.0.1:{port}/m", "--set", "mlflow.timeout=60s", cwd=here
        ) as d,
    ):
        d.wait_for(lambda: "not read yet" in d.components()["mlflow"].get("reason", ""))
        assert d.stop(within=WITHIN) == 0


def test_a_daemon_ends_though_its_state_database_hangs(here: Path) -> None:
    with silent() as port:
        state = ("--set", f"state.url=postgresql://u:p@127.0.0.1:{port}/m")
        with continuous(*state, cwd=here) as daemon:
            assert daemon.stop(within=WITHIN) == 0


def test_a_daemon_ends_though_a_platform_hangs_that_never_answered(here: Path) -> None:
    with hanging() as platform:
        config = f"exporters: {{p: {{type: http_json, endpoint: '{platform.url}', timeout: 60s}}}}\n"
        (here / "config.yaml").write_text(config)
        with continuous("--tracking-uri", "http://127.0.0.1:9", cwd=here) as daemon:
            daemon.wait_for(lambda: bool(platform.requests))
            assert daemon.stop(within=WITHIN) == 0


def test_what_a_slow_platform_takes_within_the_drain_timeout_is_delivered_though_mlflow_hangs(
    peer: StrictPeer, here: Path
) -> None:
    store = Store(here / "mlflow.db")
    store.log(3)
    env = sending(store, peer)
    peer.trouble = answer(503)
    with continuous(cwd=here, env=env) as daemon:
        daemon.wait_for(
            lambda: f'queue_samples{{exporter="pramathus"}} {len(store.truth)}.0' in daemon.get("metrics").text
        )
        daemon.stop(signal.SIGKILL)
    peer.trouble = None
    peer.trouble_with_batches = slowly(4)
    with hanging() as mlflow:
        env = {**env, "MLFLOW_TRACKING_URI": mlflow.url, "MLFLOW_EXPORTER_MLFLOW__TIMEOUT": "60s"}
        with continuous(cwd=here, env=env) as daemon:
            daemon.wait_for(lambda: bool(mlflow.requests) and len(peer.batches) == 0)
            posted = len(peer.requests)
            daemon.wait_for(lambda: len(peer.requests) > posted or peer.requests[-1].method == "POST")
            assert daemon.stop(within=40) == 0
    with continuous(cwd=here, env={**env, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}) as daemon:
        daemon.wait_for(lambda: 'delivered_total{exporter="pramathus"}' in daemon.get("metrics").text)
        text = daemon.get("metrics").text
        assert f'samples_delivered_total{{exporter="pramathus"}} {len(store.truth)}.0' in text


def test_process_1_of_a_container_is_ended_by_a_signal_before_it_has_imported_anything(here: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a PID namespace needs root")
    through = (need("unshare"), "--pid", "--fork", "--kill-child")
    with background("continuous", "--set", "web.listen=127.0.0.1:0", cwd=here, through=through) as started:
        children = Path(f"/proc/{started.process.pid}/task/{started.process.pid}/children")
        started.wait_for(lambda: bool(children.read_text().split()))
        inner = int(children.read_text().split()[0])
        end = time.monotonic() + 30
        while not catches(inner, signal.SIGTERM):
            assert time.monotonic() < end
        # With what the whole product needs, it would have been half a second later.
        assert "pydantic_core" not in Path(f"/proc/{inner}/maps").read_text()
        os.kill(inner, signal.SIGTERM)
        assert started.process.wait(WITHIN) == 0
        assert started.log.read_text() in ("error: terminated; what was queued stays queued\n", "")


def catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


COMMANDS = {
    "export-once": ("export-once",),
    "check": ("check",),
    "backfill": ("backfill", "--to", "all.om"),
    "generate-sample": ("generate-sample",),
}


@pytest.mark.parametrize(
    ("command", "number"),
    [*((command, signal.SIGTERM) for command in COMMANDS), ("export-once", signal.SIGINT)],
)
def test_a_command_that_waits_for_mlflow_ends_with_one_line(command: str, number: signal.Signals, here: Path) -> None:
    with hanging() as mlflow:
        env = {"MLFLOW_TRACKING_URI": mlflow.url, "MLFLOW_EXPORTER_MLFLOW__TIMEOUT": "60s"}
        with background(*COMMANDS[command], cwd=here, env=env) as started:
            started.wait_for(lambda: bool(mlflow.requests))
            assert started.stop(number, within=WITHIN) == 128 + number
            (line,) = started.log.read_text().splitlines()
    assert line.startswith(("error: terminated", "error: interrupted", "error: told to stop"))
    assert not (here / "all.om").exists()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_command_that_waits_for_a_database_ends_with_one_line(scheme: str, here: Path) -> None:
    with silent() as port:
        uri = f"{scheme}://u:p@127.0.0.1:{port}/m"
        with background("check", "--tracking-uri", uri, "--set", "mlflow.timeout=60s", cwd=here) as started:
            started.wait_for(lambda: catches(started.process.pid, signal.SIGTERM) and connected_to(started, port))
            assert started.stop(within=WITHIN) == 143
            assert len(started.log.read_text().splitlines()) == 1


def connected_to(started: Background, port: int) -> bool:
    """Whether a process has a connection to a port of 127.0.0.1."""
    table = Path(f"/proc/{started.process.pid}/net/tcp").read_text()
    return any(line.split()[2] == f"0100007F:{port:04X}" for line in table.splitlines()[1:])


def test_a_live_sample_ends_though_its_store_hangs_meanwhile(here: Path) -> None:
    env = {"MLFLOW_TRACKING_URI": f"sqlite:///{here}/mlflow.db"}
    with background("generate-sample", "--runs", "2", "--live", cwd=here, env=env) as started:
        started.wait_for(lambda: "step 1 of" in started.log.read_text(), within=120)
        with sqlite3.connect(here / "mlflow.db", timeout=30) as locking:
            locking.execute("BEGIN EXCLUSIVE")
            assert started.stop(within=WITHIN) == 0


def test_two_signals_end_it_at_once_whatever_it_is_at(here: Path) -> None:
    with silent() as port:
        uri = f"postgresql://u:p@127.0.0.1:{port}/m"
        with background("check", "--tracking-uri", uri, "--set", "mlflow.timeout=60s", cwd=here) as started:
            started.wait_for(lambda: connected_to(started, port))
            started.process.send_signal(signal.SIGINT)
            time.sleep(0.2)
            assert started.stop(signal.SIGTERM, within=WITHIN) in (130, 143, -signal.SIGTERM)


def test_the_exit_code_does_not_depend_on_which_thread_hears_of_the_signal_first(here: Path) -> None:
    deaf = (
        "import sys; from mlflow_monitoring_exporter import cli; from mlflow_monitoring_exporter.core import shutdown; "
        "shutdown._Stop.watch = lambda *_: None; sys.argv[1:] = ['export-once']; cli.main()"
    )
    with hanging() as mlflow:
        env = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.url}
        with subprocess.Popen([sys.executable, "-c", deaf], cwd=here, env=env, stderr=subprocess.PIPE) as process:
            while not mlflow.requests:
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, b"error: terminated; what was queued stays queued\n")
