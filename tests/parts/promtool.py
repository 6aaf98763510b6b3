"""promtool: are these files right, and do rules do what they should?"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.parts.programs import need


def promtool(*arguments: str | Path) -> str:
    """What it says; the test fails if it found anything wrong."""
    done = subprocess.run([need("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_rules(file: Path, directory: Path, cases: Sequence[Mapping[str, Any]]) -> None:
    """Run unit tests of the rules in ``file``; each case is an element of ``tests`` in promtool's own format."""
    test = directory / "unit-tests.yml"
    test.write_text(yaml.safe_dump({"rule_files": [str(file)], "evaluation_interval": "1m", "tests": list(cases)}))
    promtool("test", "rules", test)
