"""``tracking-spool`` as it is started, and spools that a test changes byte by byte."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.spool.layout import run_directories
from tests.tracking.conftest import environment

#: Twenty points, one parameter, and a name that would colour a terminal.
LOGS = """
    from tracking import start_experiment
    with start_experiment("commands", "r\\x1b[31m") as exp:
        for step in range(20): exp.log_metric("loss", step / 2, step=step)
        exp.log_param("lr", 0.1)
"""
#: Logs for ever, and prints each step that was acknowledged.
LOGS_FOR_EVER = """
    import itertools, time
    from tracking import start_experiment
    exp = start_experiment("commands", "endless").__enter__()
    for step in itertools.count():
        exp.log_metric("loss", step, step=step)
        print(step, flush=True)
        time.sleep(0.005)
"""


@dataclass(frozen=True)
class Said:
    """What a command printed."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def command(here: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "mlflow_monitoring_tracking", *arguments],
        cwd=here,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tracking_spool(here: Path, *arguments: str, env: Mapping[str, str] | None = None, code: int = 0) -> Said:
    """Run it to its end. Whatever it is asked, it prints no traceback and nothing that moves a cursor."""
    process = command(here, *arguments, env=env)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    assert all(c.isprintable() or c == "\n" for c in out + err)
    return Said(out, err)


def segments(spool: Path) -> list[Path]:
    return [directory.segment(name) for directory in run_directories(spool) for name in directory.segments()]


def until(question: Callable[[], object], within: float = 90.0) -> None:
    end = time.monotonic() + within
    while not question():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.05)
