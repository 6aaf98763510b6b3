"""What a command does not need, it does not import: help and the errors of a configuration are there at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Each takes a tenth of a second or more to import.
HEAVY = {
    "sqlalchemy",
    "requests",
    "uvicorn",
    "starlette",
    "apscheduler",
    "structlog",
    "yaml",
    "grpc",
    "numpy",
    "altair",
    "sklearn",
}


def imported_by(*arguments: str) -> set[str]:
    """The packages that a command has imported when it ends."""
    watching = "import atexit, sys; atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))"
    running = "from mlflow_monitoring_exporter.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", f"{watching}; {running}", *arguments], capture_output=True, text=True, check=False
    )
    found = {line.partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in found, done.stderr
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("version",),
        ("best-runs", "--help"),
        ("generate-report", "--help"),
        ("export-once", "--help"),
        ("queue", "purge", "--help"),
        ("no-such-command",),
    ],
)
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) & HEAVY == set()


def test_a_wrong_configuration_is_reported_before_anything_that_would_use_it_is_imported() -> None:
    assert imported_by("export-once", "--set", "no_such_key=1") & {"sqlalchemy", "uvicorn", "apscheduler"} == set()


def test_a_right_one_is_used() -> None:
    """Otherwise these tests would say nothing."""
    assert {"sqlalchemy", "structlog"} <= imported_by("export-once", "--tracking-uri", "sqlite:////no/such/store.db")
