"""What docs/how-to/analyse-runs.md shows works as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mlflow_monitoring_exporter.analysis.lint import RULES
from tests.parts.run_store import RunStore

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/how-to/analyse-runs.md").read_text()
COMMANDS = (ROOT / "docs/reference/commands.md").read_text()


def test_the_program_of_the_guide_runs(store: RunStore, tmp_path: Path) -> None:
    shutil.copy(store.path, tmp_path / "mlflow.db")
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, done.stderr), "this store has no experiment churn-*"
    assert "there is no experiment churn-*" in done.stderr
    assert done.stdout.startswith(f"resnet-9 {store.runs[9]}\n")
    again = subprocess.run(
        [sys.executable, "-c", program.replace("churn-*", "vis*")], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Trend(slope=" in again.stdout


def test_every_rule_is_in_the_reference() -> None:
    table = re.findall(r"^\| `([a-z-]+)` \|", COMMANDS.partition("## `lint`")[2].partition("\n## ")[0], re.MULTILINE)
    assert table == [rule.name for rule in RULES]
