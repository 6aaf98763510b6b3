"""The page of troubles quotes what the software really prints: each trouble is made here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.docs.pages import ROOT, rows, section
from tests.parts.command import continuous, run
from tests.parts.programs import free_port

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()


def refused(here: Path) -> str:
    return run("check", "--tracking-uri", f"http://127.0.0.1:{free_port()}", cwd=here).err


def other_host(here: Path) -> str:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"Invalid Host header - possible DNS rebinding attack detected"  # as MLflow says it
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        return run("check", "--tracking-uri", f"http://127.0.0.1:{server.server_address[1]}", cwd=here).err
    finally:
        server.shutdown()
        server.server_close()


def no_store(here: Path) -> str:
    return run("check", cwd=here).err


def misspelled(here: Path) -> str:
    return run("config", "validate", "--set", "export.intervall=5s", cwd=here).err


def port_in_use(here: Path) -> str:
    with continuous(cwd=here) as daemon:
        listen = f"web.listen={daemon.url.removeprefix('http://')}"
        return run("continuous", "--set", listen, "--set", "state.url=sqlite:///other.db", cwd=here).err


def state_in_use(here: Path) -> str:
    with continuous(cwd=here):
        return run("continuous", "--set", f"web.listen=127.0.0.1:{free_port()}", cwd=here).err


def no_daemon(here: Path) -> str:
    environment = {**os.environ, "MLFLOW_EXPORTER_WEB__LISTEN": f"127.0.0.1:{free_port()}", "PYTHONPATH": str(ROOT)}
    code = "from mlflow_monitoring_exporter.cli.probes import ready; ready()"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False).stderr


TROUBLES: dict[str, Callable[[Path], str]] = {
    "cannot be reached: connection refused": refused,
    "does not answer under this host name": other_host,
    "no MLflow store at": no_store,
    "unknown key; did you mean": misspelled,
    "Address already in use": port_in_use,
    "nothing listens on": no_daemon,
    "the state file ... is in use by process": state_in_use,
}


def test_every_message_of_the_page_is_made_below() -> None:
    assert rows(section(PAGE, "What it prints")).keys() == TROUBLES.keys()


@pytest.mark.parametrize("message", TROUBLES)
def test_the_software_says_what_the_page_says(message: str, tmp_path: Path) -> None:
    said = TROUBLES[message](tmp_path)
    assert re.search(".*".join(map(re.escape, message.split("..."))), said), said
