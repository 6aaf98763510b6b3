"""Commands that only read: show, status, verify."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.cli.output import (
    complain,
    json_number,
    plural,
    print_json,
    print_table,
    say,
)
from mlflow_monitoring_tracking.ledger import RunContents, SpoolContents, contents, runs, spool_contents, spool_of
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories, run_directory
from mlflow_monitoring_tracking.spool.verifying import Finding, verify_run


def show(wanted: argparse.Namespace) -> int:
    """The runs of a spool, or one of them."""
    spool = _spool(wanted.directory)
    if wanted.run is not None:
        return _show_run(run_directory(spool, wanted.run), wanted.run, wanted.output)
    found = [(directory, run) for directory, run in runs(spool)]
    found.sort(key=lambda each: each[1].run.start_ms if each[1].run else 0)
    for directory, run in found:
        if run.unreadable is not None:
            complain(f"error: {directory.path}: {run.unreadable}")
    summaries = [_summary(directory, run) for directory, run in found]
    if wanted.output == "json":
        print_json(summaries)
    else:
        _print_runs(summaries)
    return int(any(run.unreadable is not None for _, run in found))


def status(wanted: argparse.Namespace) -> int:
    """What became of all points, for each back end; exit code 1 unless each has all of them."""
    spool = _spool(wanted.directory)
    whole = spool_contents(spool)
    for path, why in whole.unreadable.items():
        complain(f"error: {path}: {why}")
    if wanted.output == "json":
        print_json(_status_json(whole))
    else:
        _print_status(whole)
    return int(not _is_sound(whole))


def verify(wanted: argparse.Namespace) -> int:
    """Every frame of every segment; exit code 1 if anything is damaged."""
    frames, findings = 0, list[Finding]()
    for directory in run_directories(_spool(wanted.directory)):
        for verified in verify_run(directory):
            frames += verified.frames
            findings += verified.findings
    damaged = sum(found.is_damage for found in findings)
    if wanted.output == "json":
        listed = [{**asdict(found), "path": str(found.path)} for found in findings]
        print_json({"frames": frames, "damaged": damaged, "findings": listed})
    else:
        for found in findings:
            say(f"{found.path}, byte {found.byte}: {plural(found.bytes, 'byte')} {found.what}")
        say(f"{plural(frames, 'frame')}, {damaged} damaged")
    return int(damaged > 0)


def _is_sound(whole: SpoolContents) -> bool:
    """Whether each back end has each point and each end, and was sent something if there is anything to send."""
    is_sent = bool(whole.totals) or not whole.runs
    return (
        is_sent
        and not (whole.unreadable or whole.damaged_bytes or whole.lost)
        and not any(t.runs_left or t.set_aside or t.records_set_aside or t.unaccounted for t in whole.totals.values())
    )


def _print_runs(summaries: list[dict[str, Any]]) -> None:
    names = sorted({name for run in summaries for name in run["unsent"]})
    columns = ("key", "experiment", "name", "status", "points")
    head = [*columns, *(f"unsent: {name}" for name in names), "set aside", "lost"]
    rows = [
        [
            *(run[column] for column in columns),
            *(run["unsent"].get(name) for name in names),
            sum(run["set_aside"].values()),
            run["lost"],
        ]
        for run in summaries
    ]
    print_table(head, rows)


def _status_json(whole: SpoolContents) -> dict[str, Any]:
    totals = {}
    for name, total in whole.totals.items():
        keys = ("logged", "delivered", "waiting", "set_aside", "lost")
        totals[name] = {key: getattr(total, key) for key in keys}
        if total.oldest_waiting_ms is not None:
            totals[name]["oldest_waiting_seconds"] = round(_age(total.oldest_waiting_ms), 1)
    return {
        "runs": whole.runs,
        "points": whole.logged,
        "spool_bytes": whole.size_bytes,
        "damaged_bytes": whole.damaged_bytes,
        "back_ends": totals,
        "runs_left": {name: total.runs_left for name, total in whole.totals.items()},
        "records_set_aside": {name: total.records_set_aside for name, total in whole.totals.items()},
        "unaccounted": {name: total.unaccounted for name, total in whole.totals.items()},
        "unreadable": {str(path): why for path, why in whole.unreadable.items()},
    }


def _print_status(whole: SpoolContents) -> None:
    say(
        f"{plural(whole.runs, 'run')}, {plural(whole.logged, 'point')} logged; the spool takes"
        f" {plural(whole.size_bytes, 'byte')}, {plural(whole.damaged_bytes, 'byte is', 'bytes are')} damaged"
    )
    if not whole.totals:
        say("nothing was sent to any back end yet")
        return
    head = ["back end", "logged", "delivered", "waiting", "set aside", "lost", "oldest waiting", "runs left"]
    rows = [
        [
            name,
            *(total.logged, total.delivered, total.waiting, total.set_aside, total.lost),
            None if total.oldest_waiting_ms is None else f"{_age(total.oldest_waiting_ms):.0f} s",
            total.runs_left,
        ]
        for name, total in sorted(whole.totals.items())
    ]
    print_table(head, rows)
    for name, total in sorted(whole.totals.items()):
        if total.records_set_aside:
            say(f"{name}: {plural(total.records_set_aside, 'record')} besides points set aside")
        if total.unaccounted:
            say(
                f"{name}: {plural(total.unaccounted, 'point')} not accounted for: frames were damaged, or files removed"
            )


def _show_run(directory: RunDirectory, key: str, output: str) -> int:
    if not directory.path.is_dir():
        raise FileNotFoundError(f"there is no run {key!r} in {directory.path.parent}")
    found = contents(directory)
    whole = {
        **_summary(directory, found),
        "params": found.params,
        "tags": found.tags,
        "metrics": {
            name: {"value": json_number(point.value), "step": point.step, "time_ms": point.time_ms}
            for name, point in found.latest.items()
        },
        "artifacts": [asdict(artifact) for artifact in found.artifacts],
    }
    if output == "json":
        print_json(whole)
        return 0
    for name in ("key", "experiment", "name", "status", "points", "lost"):
        say(f"{name}: {'-' if whole[name] is None else whole[name]}")
    for name, share in found.shares.items():
        known = "" if share.run_id is None else f", run {share.run_id}"
        say(f"{name}: {share.unsent} unsent, {share.set_aside} set aside{known}")
    _print_pairs("param", found.params)
    _print_pairs("tag", found.tags)
    points = [(name, point.step, repr(point.value)) for name, point in sorted(found.latest.items())]
    _print_part(["metric", "step", "value"], points)
    _print_part(["artifact", "bytes"], [(artifact.path, artifact.size) for artifact in found.artifacts])
    return 0


def _print_pairs(name: str, pairs: dict[str, str]) -> None:
    _print_part([name, "value"], sorted(pairs.items()))


def _print_part(head: list[str], rows: list[Any]) -> None:
    if rows:
        sys.stdout.write("\n")
        print_table(head, rows)


def _summary(directory: RunDirectory, found: RunContents) -> dict[str, Any]:
    run = found.run
    return {
        "key": run.run_key if run else directory.label,
        "experiment": run.experiment if run else None,
        "name": run.run_name if run else None,
        "status": found.status if found.unreadable is None else "UNREADABLE",
        "points": found.logged,
        "lost": found.lost,
        "damaged_bytes": found.damaged_bytes,
        "unsent": {name: share.unsent for name, share in found.shares.items()},
        "set_aside": {name: share.set_aside for name, share in found.shares.items()},
        "run_ids": {name: share.run_id for name, share in found.shares.items()},
    }


def _age(time_ms: int) -> float:
    """Seconds since then; 0 for what another clock says is to come."""
    return max(0.0, time.time() - time_ms / 1000)


def _spool(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no directory")
    return spool_of(path)
