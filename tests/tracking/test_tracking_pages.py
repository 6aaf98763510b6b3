"""What the pages about tracking say is so: each program runs, each key, command and event is there."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from mlflow_monitoring_tracking import settings
from mlflow_monitoring_tracking.cli import EXIT_CONFIGURATION, EXIT_INTERRUPTED, EXIT_LEFT, parser
from mlflow_monitoring_tracking.configuration import VARIABLES, load
from mlflow_monitoring_tracking.events import EVENTS
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.layout import run_directories
from mlflow_monitoring_tracking.spool.reader import read_run
from mlflow_monitoring_tracking.spool.records import Points
from mlflow_monitoring_tracking.template import TEMPLATE
from tests.tracking.commands import segments, tracking_spool
from tests.tracking.conftest import Programs, Truth, environment
from tests.tracking.spools import keys, statuses

_DOCS = Path(__file__).parents[2] / "docs"
_GUIDE = (_DOCS / "how-to" / "track-experiments.md").read_text()
_REFERENCE = (_DOCS / "reference" / "tracking.md").read_text()
_COMMANDS = (_DOCS / "reference" / "tracking-commands.md").read_text()
_EVENTS = (_DOCS / "reference" / "tracking-events.md").read_text()
_PROGRAMS = re.findall(r"```python\n(.*?)```", _GUIDE, re.DOTALL)
#: Sections that are accepted, and not used by this release.
_ACCEPTED = ("performance", "monitoring", "notifications")


@pytest.mark.parametrize("program", _PROGRAMS, ids=range(len(_PROGRAMS)))
def test_each_program_of_the_guide_runs_and_its_run_is_in_mlflow(program: str, online: Programs, mlflow: Truth) -> None:
    online.run(program)
    for key in keys(online.spool):
        assert statuses(online.spool, key) == ["FINISHED"]
        if "offline" not in program and "job-4711" not in program:
            assert mlflow.status(key) == "FINISHED"


def test_the_reader_of_the_page_about_the_spool_reads_a_real_one(offline: Programs) -> None:
    offline.run(
        """
        import os
        from tracking import start_experiment
        with start_experiment("e", "r") as exp:
            for step in range(50): exp.log_metric("loss", step / 2, step=step)
            exp.log_metrics({"a": 1, "b\\udc80": 2})
            exp.log_param("lr", 0.1)
            exp.set_tag("team", "a")
        start_experiment("e", "killed").__enter__().log_metric("loss", 0)
        os._exit(0)
        """
    )
    damaged = max(segments(offline.spool), key=lambda path: path.stat().st_size)
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(bytes(data) + data[8:20])  # and a torn tail
    [reader] = re.findall(r"```python\n(.*?)```", (_DOCS / "reference" / "spool.md").read_text(), re.DOTALL)
    assert len(reader.splitlines()) < 100
    done = subprocess.run(
        [sys.executable, "-c", reader, str(offline.spool)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    read = [(*line.split(" ", 2)[:2], json.loads(line.split(" ", 2)[2])) for line in done.stdout.splitlines()]
    assert read == _read_by_the_library(offline.spool)
    assert {kind for _, kind, _ in read} == {"opened", "point", "params", "tags", "ended"}


def _read_by_the_library(spool: Path) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    for directory in run_directories(spool):
        for read in read_run(directory, {}):
            if isinstance(read.record, Points):
                found += [
                    (directory.path.name, "point", [p.key, p.step, p.time_ms, p.value]) for p in read.record.points
                ]
            elif read.record is not None:
                found.append((directory.path.name, type(read.record).__name__.lower(), asdict(read.record)))
    return found


def _keys(kind: type[Any], prefix: str = "") -> list[str]:
    hints = get_type_hints(kind, vars(settings))
    found = []
    for field in fields(kind):
        hint = hints[field.name]
        found += _keys(hint, f"{field.name}.") if is_dataclass(hint) else [f"{prefix}{field.name}"]  # type: ignore[arg-type]
    return found


def test_each_key_of_the_configuration_is_on_the_page() -> None:
    undocumented = [key for key in _keys(Settings) if f"`{key}`" not in _REFERENCE]
    assert [key for key in undocumented if not key.startswith(_ACCEPTED)] == []


def test_each_variable_is_on_the_page() -> None:
    assert [name for name in VARIABLES if f"`{name}`" not in _REFERENCE] == []


def test_each_command_and_option_is_on_the_page() -> None:
    [commands] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert [name for name in re.findall(r"^## (\w+)$", _COMMANDS, re.MULTILINE) if name not in commands.choices] == []
    for name, command in commands.choices.items():
        assert f"| `{name} " in _COMMANDS
        section = _COMMANDS.split(f"\n## {name}\n")[1].split("\n## ")[0]
        options = {o for action in command._actions for o in action.option_strings if o.startswith("--")} - {"--help"}
        assert {option for option in options if f"`{option}" not in section} == set(), name
        assert set(re.findall(r"`(--[a-z-]+)", section)) <= options, name


def test_each_exit_code_is_on_the_page() -> None:
    for code in (0, EXIT_LEFT, EXIT_CONFIGURATION, EXIT_INTERRUPTED):
        assert f"| {code} |" in _COMMANDS


def test_each_key_of_the_output_is_on_the_page(offline: Programs) -> None:
    offline.run("from tracking import start_experiment\nwith start_experiment('e') as exp: exp.log_metric('m', 1)")
    [key] = keys(offline.spool)
    for command in (["show"], ["show", "--run", key], ["status"], ["verify"]):
        said = tracking_spool(offline.here, *command, "tracking", "--output", "json", code=command == ["status"]).json
        for name in said[0] if isinstance(said, list) else said:
            assert f"`{name}`" in _COMMANDS, name


def test_each_event_is_on_the_page() -> None:
    assert [name for name in re.findall(r"^\| `(\w+_\w+)` \|", _EVENTS, re.MULTILINE) if name in EVENTS] == list(EVENTS)
    for name, meaning in EVENTS.items():
        assert f"| `{name}` | {meaning} |" in _EVENTS


def test_the_configuration_that_setup_writes_is_what_is_so_without_one(tmp_path: Path) -> None:
    path = tmp_path / "tracking_config.yaml"
    path.write_text(TEMPLATE)
    assert load(path, {}) == load({}, {})
