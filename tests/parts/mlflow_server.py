"""A real ``mlflow server`` on a free port, with its SQLite store where tests can reach it.

::

    with MlflowServer(tmp_path) as server:
        server.post("experiments/create", {"name": "demo"})
        server.url, server.store_uri

Starting it takes about 14 s: share one wherever possible.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import requests

from tests.parts.programs import free_port

_READY_WITHIN = 120.0
#: No second pool of processes, and no questions to the network outside of this machine.
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class MlflowServer:
    """``arguments`` and ``environment`` are added to those that keep the server small."""

    def __init__(
        self,
        directory: Path,
        *,
        database: Path | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.database = (database or directory / "mlflow.db").resolve()
        self.store_uri = f"sqlite:///{self.database}"
        self.log = directory / "server.log"
        self.url = ""
        self._arguments = arguments
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int = 0) -> None:
        """Return once a real search was answered; on the same ``port`` as before, if one is given."""
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server"),
                    *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                    *("--backend-store-uri", self.store_uri),
                    *("--artifacts-destination", str(self.directory / "artifacts")),
                    *self._arguments,
                ],
                cwd=self.directory,
                env={**os.environ, **_QUIET, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and everything that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(timeout=10)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait(timeout=10)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer of ``POST /api/2.0/mlflow/<path>``; anything but 200 fails the test."""
        response = requests.post(f"{self.url}/api/2.0/mlflow/{path}", json=body, timeout=30)
        assert response.status_code == 200, response.text
        return response.json()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _READY_WITHIN
        while time.monotonic() < end and process.poll() is None:
            try:
                # 401 is an answer too: a server with --app-name basic-auth gives no other.
                response = requests.post(
                    f"{self.url}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=5
                )
                if response.status_code in (200, 401):
                    return
            except requests.RequestException:
                pass
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-3000:]
        raise AssertionError(f"mlflow server was not ready (exit code {process.poll()}):\n{tail}")
