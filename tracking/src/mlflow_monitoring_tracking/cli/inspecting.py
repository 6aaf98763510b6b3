"""Commands that only read: show, status, verify."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.cli.output import print_json, print_table, printable
from mlflow_monitoring_tracking.ledger import RunContents, contents, spool_of
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories, run_directory
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError, read_segment
from mlflow_monitoring_tracking.spool.room import size_of


def show(wanted: argparse.Namespace) -> int:
    """The runs of a spool, or one of them."""
    spool = _spool(wanted.directory)
    if wanted.run is not None:
        return _show_run(run_directory(spool, wanted.run), wanted.run, wanted.output)
    runs = [_summary(directory, found) for directory, found in _runs(spool)]
    if wanted.output == "json":
        print_json(runs)
    else:
        names = sorted({name for run in runs for name in run["unsent"]})
        head = ["key", "experiment", "name", "status", "points", *(f"unsent: {name}" for name in names)]
        print_table(
            head,
            [
                [
                    *(run[key] for key in ("key", "experiment", "name", "status", "points")),
                    *map(run["unsent"].get, names),
                ]
                for run in runs
            ],
        )
    return 0


def status(wanted: argparse.Namespace) -> int:
    """Conservation, for each back end."""
    spool = _spool(wanted.directory)
    totals: dict[str, dict[str, Any]] = {}
    logged = damaged = 0
    for _, found in _runs(spool):
        logged += found.logged
        damaged += found.damaged_bytes
        for name, share in found.shares.items():
            total = totals.setdefault(name, {"logged": 0, "delivered": 0, "waiting": 0, "set_aside": 0, "lost": 0})
            total["logged"] += found.logged
            total["delivered"] += share.counts.delivered_points
            total["waiting"] += share.waiting
            total["set_aside"] += share.counts.set_aside_points
            total["lost"] += found.lost
            if share.oldest_waiting_ms is not None:
                age = max(0.0, time.time() - share.oldest_waiting_ms / 1000)
                total["oldest_waiting_seconds"] = round(max(age, total.get("oldest_waiting_seconds", 0.0)), 1)
    size = size_of(spool)
    if wanted.output == "json":
        print_json({"points": logged, "spool_bytes": size, "damaged_bytes": damaged, "back_ends": totals})
        return 0
    sys.stdout.write(f"{logged} points logged; the spool takes {size} bytes, {damaged} of them damaged\n")
    if totals:
        head = ["back end", "logged", "delivered", "waiting", "set aside", "lost", "oldest waiting"]
        keys = ("logged", "delivered", "waiting", "set_aside", "lost")
        rows = [
            [name, *(total[key] for key in keys), f"{total['oldest_waiting_seconds']} s" if total["waiting"] else None]
            for name, total in sorted(totals.items())
        ]
        print_table(head, rows)
    return 0


def verify(wanted: argparse.Namespace) -> int:
    """Every frame of every segment."""
    problems: list[dict[str, Any]] = []
    frames = 0
    for directory in run_directories(_spool(wanted.directory)):
        for name in directory.segments():
            path = directory.segment(name)
            last = 0
            try:
                for read in read_segment(directory, name):
                    frames += 1
                    last = read.place.offset
                    if read.damaged:
                        problems.append(_damage(path, last - read.damaged, read.damaged, "damaged"))
            except SpoolFormatError as error:
                problems.append(_damage(path, 0, path.stat().st_size, str(error)))
                continue
            with path.open("rb") as file:
                file.seek(last)
                rest = file.read().rstrip(b"\0")
            if rest and last:
                problems.append(_damage(path, last, len(rest), "not whole: its writer died, or is at it"))
    if wanted.output == "json":
        print_json({"frames": frames, "problems": problems})
    else:
        for problem in problems:
            sys.stdout.write(printable("{file}, byte {byte}: {bytes} bytes {what}".format(**problem)) + "\n")
        sys.stdout.write(f"{frames} frames, {len(problems)} problems\n")
    return 1 if problems else 0


def _damage(path: Path, byte: int, size: int, what: str) -> dict[str, Any]:
    return {"file": str(path), "byte": byte, "bytes": size, "what": what}


def _show_run(directory: RunDirectory, key: str, output: str) -> int:
    if not directory.path.is_dir():
        raise FileNotFoundError(f"there is no run {key!r} in {directory.path.parent}")
    found = contents(directory)
    whole = {
        **_summary(directory, found),
        "params": found.params,
        "tags": found.tags,
        "metrics": {name: {"value": p.value, "step": p.step, "time_ms": p.time_ms} for name, p in found.latest.items()},
        "artifacts": [asdict(artifact) for artifact in found.artifacts],
    }
    if output == "json":
        print_json(whole)
        return 0
    for name in ("key", "experiment", "name", "status", "points", "lost"):
        sys.stdout.write(f"{name}: {printable(whole[name])}\n")
    for name in ("params", "tags"):
        if whole[name]:
            sys.stdout.write("\n")
            print_table([name, "value"], sorted(whole[name].items()))
    if found.latest:
        sys.stdout.write("\n")
        print_table(
            ["metric", "step", "value"], [(p.key, p.step, repr(p.value)) for _, p in sorted(found.latest.items())]
        )
    if found.artifacts:
        sys.stdout.write("\n")
        print_table(["artifact", "bytes"], [(artifact.path, artifact.size) for artifact in found.artifacts])
    return 0


def _summary(directory: RunDirectory, found: RunContents) -> dict[str, Any]:
    run = found.run
    return {
        "key": run.run_key if run else directory.label,
        "experiment": run.experiment if run else None,
        "name": run.run_name if run else None,
        "status": found.status,
        "points": found.logged,
        "lost": found.lost,
        "unsent": {name: share.waiting for name, share in found.shares.items()},
        "set_aside": {
            name: share.counts.set_aside_points + share.counts.set_aside for name, share in found.shares.items()
        },
        "run_ids": {name: share.run_id for name, share in found.shares.items()},
    }


def _runs(spool: Path) -> Iterator[tuple[RunDirectory, RunContents]]:
    for directory in run_directories(spool):
        if directory.segments():
            yield directory, contents(directory)


def _spool(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no directory")
    return spool_of(path)
