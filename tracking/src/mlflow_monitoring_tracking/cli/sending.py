"""Commands that reach back ends: sync, setup."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import FrameType

from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.cli.output import printable
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.ledger import contents, spool_of
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.layout import run_directories
from mlflow_monitoring_tracking.template import TEMPLATE

#: Seconds between two lines of ``--watch``.
_LINE_EVERY = 10.0


def sync(wanted: argparse.Namespace) -> int:
    """Send a spool."""
    settings = load(wanted.config)
    if not wanted.directory.is_dir():
        raise FileNotFoundError(f"{wanted.directory} is no directory")
    spool = spool_of(wanted.directory)
    made = backends(settings)
    if set(made) <= {"local"}:
        sys.stderr.write(
            "error: no back end is configured; set MLFLOW_TRACKING_URI, or mlflow.tracking_uri in a file\n"
        )
        return 78
    keep = float("inf") if settings.local.enabled else 0.0
    sender = Sender(spool, made, settings.delivery, keep)
    try:
        if wanted.watch:
            _watch(sender, spool, made)
            return 0
        done = sender.run_once()
    finally:
        sender.stop(1.0)
    runs, unsent = _left(spool, made)
    sys.stdout.write(f"{runs} runs, {unsent} points not sent\n")
    return 0 if done and not unsent else 1


def setup(wanted: argparse.Namespace) -> int:
    """Write a configuration, unless there is one, and try what it says."""
    path: Path = wanted.file
    if path.exists():
        sys.stdout.write(f"{printable(path)} is there already and stays as it is\n")
    else:
        path.write_text(TEMPLATE, "utf-8")
        sys.stdout.write(f"wrote {printable(path)}\n")
    return 0 if check(load(path)) else 1


def check(settings: Settings) -> bool:
    """Try every back end and say what works; whether all do."""
    works = True
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"spool: {printable(settings.spool_dir)} can be written\n")
    quick = replace(settings, mlflow=replace(settings.mlflow, timeout=min(settings.mlflow.timeout, 10.0)))
    for name, backend in backends(quick).items():
        try:
            found = backend.check()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is asked for
            works = False
            found = f"does not work: {error}"
        finally:
            backend.close()
        sys.stdout.write(f"{printable(name)}: {printable(found)}\n")
    return works


def _watch(sender: Sender, spool: Path, made: Iterable[str]) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    sender.start()
    try:
        while True:
            runs, unsent = _left(spool, made)
            sys.stdout.write(f"{runs} runs, {unsent} points not sent\n")
            sys.stdout.flush()
            time.sleep(_LINE_EVERY)
    except KeyboardInterrupt:
        sender.stop(5.0)


def _left(spool: Path, made: Iterable[str]) -> tuple[int, int]:
    """Runs, and points that some back end does not have yet."""
    runs = unsent = 0
    for directory in run_directories(spool):
        if directory.segments():
            runs += 1
            found = contents(directory, made)
            unsent += max(share.waiting for share in found.shares.values())
    return runs, unsent
