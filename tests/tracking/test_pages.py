"""What the pages about tracking say is so: each program runs, each key, command and event is there."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from mlflow_monitoring_tracking import settings
from mlflow_monitoring_tracking.cli import parser
from mlflow_monitoring_tracking.configuration import VARIABLES, load
from mlflow_monitoring_tracking.events import EVENTS
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.template import TEMPLATE
from tests.tracking.conftest import Programs, Truth, environment
from tests.tracking.spools import keys, statuses

_DOCS = Path(__file__).parents[2] / "docs"
_GUIDE = (_DOCS / "how-to" / "track-experiments.md").read_text()
_REFERENCE = (_DOCS / "reference" / "tracking.md").read_text()
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
        from tracking import start_experiment
        with start_experiment("e", "r") as exp:
            exp.log_metric("loss", 0.5, step=7)
            exp.log_metrics({"a": 1, "b": 2})
            exp.log_param("lr", 0.1)
        """
    )
    [reader] = re.findall(r"```python\n(.*?)```", (_DOCS / "reference" / "spool.md").read_text(), re.DOTALL)
    assert len(reader.splitlines()) < 100
    done = subprocess.run(
        [sys.executable, "-c", reader, str(offline.spool)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    assert re.search(r"^loss 7 \d+ 0\.5$", done.stdout, re.MULTILINE)
    assert re.search(r"^b None \d+ 2\.0$", done.stdout, re.MULTILINE)
    assert '"lr": "0.1"' in done.stdout
    assert '"status": "FINISHED"' in done.stdout


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
    for name, command in commands.choices.items():
        assert f"| `{name} " in _REFERENCE
        for option in (o for action in command._actions for o in action.option_strings if o.startswith("--")):
            assert option in _REFERENCE, f"{name} {option}"


def test_each_event_is_on_the_page() -> None:
    for name, meaning in EVENTS.items():
        assert f"| `{name}` | {meaning} |" in _REFERENCE


def test_the_configuration_that_setup_writes_is_what_is_so_without_one(tmp_path: Path) -> None:
    path = tmp_path / "tracking_config.yaml"
    path.write_text(TEMPLATE)
    assert load(path, {}) == load({}, {})
