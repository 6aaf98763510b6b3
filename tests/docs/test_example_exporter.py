"""Each example is a package that works by itself: installed into an environment of its own, listed, proved, used."""

from __future__ import annotations

import ast
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
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mlflow_monitoring_exporter.testing import HttpPlatform, Reply, Request
from tests.docs.pages import ROOT, fenced

EXAMPLES = sorted((ROOT / "examples").glob("exporter-*"))
PAGE = (ROOT / "docs" / "how-to" / "write-an-exporter.md").read_text()
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A fresh environment that has all packages from wheels; of this checkout it knows nothing.

    What they depend on is not downloaded again: it comes from the environment of the tests.
    """
    here = tmp_path_factory.mktemp("clean")
    wheels = here / "wheels"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    for package in (ROOT, *EXAMPLES):
        options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
        subprocess.run([*pip, "wheel", *options, str(package)], check=True, capture_output=True)
    venv.create(here / "venv", with_pip=False)
    python = here / "venv" / "bin" / "python"
    (library,) = (here / "venv" / "lib").glob("python*/site-packages")
    (library / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    made = [str(wheel) for wheel in wheels.glob("*.whl")]
    assert len(made) == 1 + len(EXAMPLES)
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", *made], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = {**clean, "PATH": f"{python.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
        return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)

    where = run("python", "-c", "import mlflow_monitoring_exporter as package; print(package.__file__)").stdout
    assert Path(where.strip()).is_relative_to(library), "not the checkout"
    return here, run


def test_the_page_has_one_for_http_and_one_that_is_not() -> None:
    assert [example.name for example in EXAMPLES] == ["exporter-graphite", "exporter-opensearch"]


@pytest.mark.parametrize("name", ["graphite", "opensearch"])
def test_it_is_listed(installed: tuple[Path, Run], name: str) -> None:
    _, run = installed
    listed = json.loads(run("mlflow-monitoring-exporter", "exporters", "list", "--output", "json").stdout)
    (found,) = (one for one in listed if one["name"] == name)
    assert found == {
        "name": name,
        "origin": f"exporter-{name} 1.0",
        "mode": "every",
        "contract": 1,
        "problem": None,
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_it_passes_the_contract_suite(installed: tuple[Path, Run], example: Path) -> None:
    here, run = installed
    shutil.copytree(example / "tests", here / example.name)
    done = run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", example.name)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 15
    assert "skipped" not in done.stdout


def test_graphite_gets_what_mlflow_holds(installed: tuple[Path, Run]) -> None:
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


class OpenSearch(HttpPlatform):
    """Takes every document."""

    def settings(self) -> dict[str, Any]:
        return {"url": self.url}

    def read(self, request: Request) -> Iterable[Hashable]:
        return [line["create"]["_id"] for line in map(json.loads, request.body.splitlines()) if "create" in line]

    def reply(self, request: Request) -> Reply:
        return Reply(body=json.dumps({"items": [{"create": {"status": 201}} for _ in self.read(request)]}).encode())


def test_opensearch_gets_what_mlflow_holds(installed: tuple[Path, Run], tmp_path: Path) -> None:
    _, run = installed
    store = ("--set", f"mlflow.tracking_uri=sqlite:///{tmp_path}/mlflow.db")
    state = ("--set", f"state.url=sqlite:///{tmp_path}/state.db")
    made = run("mlflow-monitoring-exporter", "generate-sample", "--runs", "2", *store)
    assert made.returncode == 0, made.stderr
    points = int(re.findall(r"(\d+) points", made.stdout)[0])
    with OpenSearch() as platform:
        url = f"exporters.opensearch.url={platform.url}"
        done = run("mlflow-monitoring-exporter", "export-once", *store, *state, "--set", url)
        assert done.returncode == 0, done.stderr
        assert len(platform.received()) == points


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_page_shows_the_whole_exporter(example: Path) -> None:
    (module,) = example.glob("*.py")
    assert [block for block in fenced("python", PAGE) if module.read_text().endswith(f'"""\n\n{block}')]


def test_every_block_of_the_page_is_in_an_example() -> None:
    sources = [file.read_text() for example in EXAMPLES for file in example.rglob("*.py")]
    blocks = fenced("python", PAGE)
    assert sum("Contract):" in block for block in blocks) == len(EXAMPLES), "each shows how it is tested"
    assert [block for block in blocks if not any(block in source for source in sources)] == []


def test_the_page_shows_how_a_package_names_its_plugin() -> None:
    (project,) = fenced("toml", PAGE)
    written: dict[str, Any] = tomllib.loads((ROOT / "examples" / "exporter-graphite" / "pyproject.toml").read_text())
    for key, value in tomllib.loads(project)["project"].items():
        assert written["project"][key] == value


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_exporter_imports_nothing_but_what_is_promised(example: Path) -> None:
    """And its tests nothing but the suite in addition."""
    for file in example.rglob("*.py"):
        promised = {"mlflow_monitoring_exporter.plugin"}
        if file.parent.name == "tests":
            promised.add("mlflow_monitoring_exporter.testing")
        assert imported(file.read_text()) <= promised, file.name


def imported(source: str) -> set[str]:
    """The modules of ours that a module imports from, at its top or anywhere else."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "mlflow_monitoring_exporter"}
