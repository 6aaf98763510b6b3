"""The example is a package that works by itself: installed into an environment of its own, listed, proved, used."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import socket
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.docs.pages import ROOT, fenced

EXAMPLE = ROOT / "examples" / "exporter-graphite"
PAGE = (ROOT / "docs" / "how-to" / "write-an-exporter.md").read_text()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A fresh environment that has both packages from wheels; of this checkout it knows nothing.

    What they depend on is not downloaded again: it comes from the environment of the tests.
    """
    here = tmp_path_factory.mktemp("clean")
    wheels = here / "wheels"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    for package in (ROOT, EXAMPLE):
        options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
        subprocess.run([*pip, "wheel", *options, str(package)], check=True, capture_output=True)
    venv.create(here / "venv", with_pip=False)
    python = here / "venv" / "bin" / "python"
    (library,) = (here / "venv" / "lib").glob("python*/site-packages")
    (library / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    made = [str(wheel) for wheel in wheels.glob("*.whl")]
    assert len(made) == 2
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", *made], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {**clean, "PATH": f"{python.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
        return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)

    where = run("python", "-c", "import mlflow_monitoring_exporter as package; print(package.__file__)").stdout
    assert Path(where.strip()).is_relative_to(library), "not the checkout"
    return here, run


def test_it_is_listed(installed: tuple[Path, Run]) -> None:
    _, run = installed
    listed = json.loads(run("mlflow-monitoring-exporter", "exporters", "list", "--output", "json").stdout)
    (graphite,) = (one for one in listed if one["name"] == "graphite")
    assert graphite == {
        "name": "graphite",
        "origin": "exporter-graphite 1.0",
        "mode": "every",
        "contract": 1,
        "problem": None,
    }


def test_it_passes_the_contract_suite(installed: tuple[Path, Run]) -> None:
    here, run = installed
    shutil.copytree(EXAMPLE / "tests", here / "tests")
    done = run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 15
    assert "skipped" not in done.stdout


def test_it_delivers_what_mlflow_holds(installed: tuple[Path, Run]) -> None:
    _, run = installed
    made = run("mlflow-monitoring-exporter", "generate-sample", "--runs", "2")
    assert made.returncode == 0, made.stderr
    points = int(re.findall(r"(\d+) points", made.stdout)[0])
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_collect, args=(listener, lines), daemon=True).start()
        port = listener.getsockname()[1]
        keys = {"exporters.graphite.host": "127.0.0.1", "exporters.graphite.port": port}
        flags = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
        done = run("mlflow-monitoring-exporter", "export-once", *flags)
    assert done.returncode == 0, done.stderr
    assert f"graphite    127.0.0.1:{port}" in done.stdout
    assert len(lines) == points
    assert all(re.fullmatch(r"mlflow\.[\w-]+\.[0-9a-f]{32}\.[\w-]+ \S+ \d+", line) for line in lines)


def _collect(listener: socket.socket, lines: list[str]) -> None:
    with suppress(OSError):  # until nobody listens any more
        while True:
            connection, _ = listener.accept()
            with connection:
                lines += connection.makefile().read().splitlines()


def test_the_page_shows_the_example_as_it_is() -> None:
    source = (EXAMPLE / "exporter_graphite.py").read_text()
    (shown,) = (block for block in fenced("python", PAGE) if "ExporterPlugin(" in block)
    assert source.endswith(shown)
    (project,) = fenced("toml", PAGE)
    written: dict[str, Any] = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    for key, value in tomllib.loads(project)["project"].items():
        assert written["project"][key] == value
    tests = (EXAMPLE / "tests" / "test_exporter_graphite.py").read_text()
    (suite,) = (block for block in fenced("python", PAGE) if "ExporterContract)" in block)
    assert suite in tests
