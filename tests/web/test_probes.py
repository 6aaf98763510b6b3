"""The health checks find the daemon by its own configuration, and say in one line what is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from mlflow_monitoring_exporter.config.schema import WebConfig
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from mlflow_monitoring_exporter.web.app import build_app
from mlflow_monitoring_exporter.web.server import WebServer


def probe(which: str, environment: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    """Exit code and output of a health check."""
    command = [sys.executable, "-c", f"from mlflow_monitoring_exporter.web import probes; probes.{which}()"]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=30, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a daemon that speaks TLS and asks for a password."""
    certificate = trustme.CA().issue_cert("exporter.example")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "password").write_text("pässword")
    web = {
        "tls_cert_file": str(tmp_path / "cert.pem"),
        "tls_key_file": str(tmp_path / "key.pem"),
        "username": "prometheus",
        "password_file": str(tmp_path / "password"),
    }
    readiness = Readiness()
    readiness.good("mlflow")
    config = WebConfig.model_validate({"listen": "127.0.0.1:0", **web})
    server = WebServer(config, build_app(SelfMetrics(readiness).registry, readiness, config))
    server.start()
    listen = {"listen": server.url.removeprefix("https://")}
    yield {f"MLFLOW_EXPORTER_WEB__{key.upper()}": value for key, value in {**web, **listen}.items()}
    server.stop()


def test_they_speak_tls_and_know_the_password(guarded: dict[str, str], tmp_path: Path) -> None:
    assert probe("alive", guarded, tmp_path) == (0, "ok\n")
    assert probe("ready", guarded, tmp_path) == (0, "ready\n")


def test_a_wrong_password_is_not_healthy(guarded: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "other").write_text("planted-secret")
    code, said = probe("alive", {**guarded, "MLFLOW_EXPORTER_WEB__PASSWORD_FILE": str(tmp_path / "other")}, tmp_path)
    assert code == 1
    assert "planted-secret" not in said


def test_one_that_does_not_answer_is_not_healthy(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        listen = f"127.0.0.1:{silent.getsockname()[1]}"
        assert probe("alive", {"MLFLOW_EXPORTER_WEB__LISTEN": listen}, tmp_path) == (
            1,
            f"error: no answer from {listen}: timed out\n",
        )


def test_a_wrong_configuration_is_not_healthy(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("web: {lisen: 1}\n")
    code, said = probe("ready", {}, tmp_path)
    assert (code, said.count("\n")) == (1, 1)
    assert "config.yaml:1: web.lisen: unknown key; did you mean listen?" in said
