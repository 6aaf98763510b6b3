"""What a user gets wrong is one clear line, never a traceback (which `run` refuses for every command)."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.parts.bad_server import answer, bad_server, html
from tests.parts.command import continuous, run
from tests.parts.programs import free_port

QUICK = ("--set", "mlflow.timeout=1s")


def one_line(err: str) -> str:
    (line,) = err.splitlines()
    return line


def test_a_tracking_uri_of_no_known_kind(here: Path) -> None:
    done = run("export-once", "--tracking-uri", "mlflow://nonsense", cwd=here)
    assert done.code == 78
    assert (
        one_line(done.err)
        == "error: --tracking-uri: mlflow is not supported: use http://, https://, sqlite:///, postgresql:// or mysql://"
    )


@pytest.mark.parametrize("command", ["export-once", "check"])
def test_a_wrong_password(here: Path, command: str) -> None:
    env = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "wrong-password"}
    with bad_server(answer(401)) as server:
        done = run(command, "--tracking-uri", server.url, cwd=here, env=env)
    assert done.code == 1
    assert "does not accept the credentials (HTTP 401): check" in one_line(done.err)
    assert "wrong-password" not in done.err + done.out


def test_an_html_page_instead_of_json(here: Path) -> None:
    with bad_server(html()) as server:
        done = run("export-once", "--tracking-uri", server.url, cwd=here)
    assert done.code == 1
    assert f"{server.url} answered with an HTML page instead of JSON" in one_line(done.err)


def test_a_server_that_is_not_there(here: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("export-once", "--tracking-uri", url, *QUICK, cwd=here)
    assert done.code == 1
    assert one_line(done.err).startswith(f"error: mlflow: {url}")
    assert "connection refused" in done.err


def test_no_store_yet(here: Path) -> None:
    done = run("export-once", cwd=here)
    assert done.code == 1
    assert "no MLflow store at" in one_line(done.err)
    assert "generate-sample" in done.err


def test_every_problem_of_a_configuration_at_once_with_file_line_and_key(here: Path) -> None:
    (here / "config.yaml").write_text(
        "mlflow:\n  tracking_url: http://mlflow:5000\nexport:\n  interval: soon\nexporters:\n  a: {type: filee}\n"
    )
    for command in (("config", "validate"), ("export-once",), ("continuous",), ("check",), ("generate-sample",)):
        done = run(*command, cwd=here)
        assert done.code == 78
        assert done.err.splitlines() == [
            "error: config.yaml:2: mlflow.tracking_url: unknown key; did you mean tracking_uri?",
            "error: config.yaml:4: export.interval: 'soon' is not a duration: write 60s, 5m or 1h30m",
            "error: config.yaml:6: exporters.a.type: unknown type 'filee'; did you mean file?",
        ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("export: {since: !!timestamp x}", "config.yaml:1: export.since: is not a date"),
        ("export: {history: !!bool maybe}", "config.yaml:1: export.history: is not true or false"),
        ('export: {max_experiments: !!int ""}', "config.yaml:1: export.max_experiments: is not a number"),
        ("exporters: {a: {type: {token: pl4nted-s3cret}}}", "config.yaml:1: exporters.a.type: must be a word, one of"),
        ("mlflow: {token: *pl4nted-s3cret}", "config.yaml:1: YAML syntax: an alias (*name) without its anchor"),
        ("monitoring: {alerts: []}", "config.yaml:1: monitoring: unknown key; did you mean alerts?"),
        (
            "mlflow: {client_cert_file: no.pem}",
            "config.yaml:1: mlflow.client_cert_file: cannot read client_cert_file no.pem",
        ),
        (
            "mlflow: {ca_file: config.yaml}",
            "config.yaml:1: mlflow.ca_file: ca_file config.yaml holds no PEM certificate",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line_and_exit_code_78(here: Path, written: str, said: str) -> None:
    (here / "config.yaml").write_text(written)
    done = run("config", "validate", cwd=here)
    assert done.code == 78
    assert said in one_line(done.err)
    assert "pl4nted" not in done.err + done.out


def test_a_port_in_use(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("continuous", "--set", f"web.listen={listen}", cwd=here)
    assert done.code == 78
    assert one_line(done.err) == f"error: web.listen: cannot listen on {listen}: Address already in use"


def test_two_exporters_that_would_serve_the_same_series(here: Path) -> None:
    (here / "config.yaml").write_text("exporters: {a: {type: prometheus}, b: {type: prometheus}}\n")
    done = run("config", "validate", cwd=here)
    assert done.code == 78
    assert one_line(done.err).startswith("error: exporters.b: a already serves /metrics")


def test_a_state_file_that_is_something_else(here: Path) -> None:
    (here / "exporter-state.db").write_text("my shopping list\n" * 100)
    done = run("export-once", cwd=here)
    assert done.code == 1
    assert "is not a state file of this program: set state.url to another path" in one_line(done.err)
    assert (here / "exporter-state.db").read_text().startswith("my shopping list")


def test_a_state_file_that_belongs_to_mlflow(here: Path) -> None:
    assert run("generate-sample", "--runs", "1", cwd=here).code == 0
    before = (here / "mlflow.db").read_bytes()
    done = run("export-once", "--set", "state.url=sqlite:///mlflow.db", cwd=here)
    assert done.code == 1
    assert "is another program's database" in one_line(done.err)
    assert (here / "mlflow.db").read_bytes() == before


def test_two_daemons_on_one_state_file(here: Path) -> None:
    with continuous(cwd=here) as daemon:
        done = run("export-once", cwd=here)
        assert done.code == 1
        assert f"is in use by process {daemon.process.pid}: stop that one" in one_line(done.err)
        assert run("queue", "list", cwd=here).code == 0, "looking is allowed"


def test_a_missing_configuration_file(here: Path) -> None:
    done = run("config", "validate", "--config", "conf.yaml", cwd=here)
    assert done.code == 78
    assert "conf.yaml" in one_line(done.err)


@pytest.mark.parametrize("flag", ["interval", "=5", "export..interval=5s"])
def test_a_set_without_key_or_value(here: Path, flag: str) -> None:
    done = run("config", "validate", "--set", flag, cwd=here)
    assert done.code == 78
    assert "is not KEY=VALUE" in one_line(done.err)


def test_a_file_sink_that_cannot_be_written(here: Path) -> None:
    done = run("export-once", "--set", "exporters.file.path=/proc/nothing/here.jsonl", cwd=here)
    assert done.code == 78
    assert "/proc/nothing/here.jsonl" in one_line(done.err)


def test_a_reader_that_has_enough(here: Path) -> None:
    command = [sys.executable, "-m", "mlflow_monitoring_exporter", "config", "schema"]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait(30)) == (b"", 1)


def test_no_peer_that_hangs_up_ends_the_daemon(here: Path) -> None:
    """A peer that closes its socket while something is sent to it, or whoever read the log."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow_monitoring_exporter", "continuous", "--log-level", "debug"]
    wishes = ["--tracking-uri", "http://127.0.0.1:1", "--interval", "0.2s", "--set", f"web.listen=127.0.0.1:{port}"]
    process = subprocess.Popen([*command, *wishes], cwd=here, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        process.stderr.close()
        end = time.monotonic() + 30
        while not polls(port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        (ignored,) = re.findall(r"^SigIgn:\s+([0-9a-f]+)$", status, re.MULTILINE)
        assert int(ignored, 16) >> (signal.SIGPIPE - 1) & 1
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()


def polls(port: int) -> bool:
    """Whether a daemon says that it tried to read MLflow."""
    try:
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    except requests.ConnectionError:
        return False
    return 'mlflow_exporter_polls_total{result="failed"} 0.0' not in text
