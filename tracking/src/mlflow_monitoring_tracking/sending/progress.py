"""How far one back end is with one run: a file that is replaced after every batch that was taken."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlflow_monitoring_tracking.backends.contract import RunState
from mlflow_monitoring_tracking.sending.histograms import LATENCY_MS, UPLOAD_BYTES, Histogram
from mlflow_monitoring_tracking.spool.drafts import replace_json
from mlflow_monitoring_tracking.spool.layout import RunDirectory
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.records import Ended


@dataclass(slots=True)
class Counts:
    """What became of the records that were read. Points count one each, so do parameters, tags and files."""

    delivered_points: int = 0
    delivered: int = 0
    set_aside_points: int = 0
    set_aside: int = 0
    skipped: int = 0
    lost_points: int = 0
    lost: int = 0
    damaged_bytes: int = 0


@dataclass(slots=True)
class Progress:
    """Of one back end and one run.

    ``to_end`` is the end that was read and is not sent yet, ``ended`` the status that was sent; None while the
    run goes on.
    """

    run: RunState = field(default_factory=RunState)
    places: dict[str, Place] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    to_end: Ended | None = None
    ended: str | None = None
    latency_ms: Histogram = field(default_factory=lambda: Histogram(LATENCY_MS))
    upload_bytes: Histogram = field(default_factory=lambda: Histogram(UPLOAD_BYTES))


def load(directory: RunDirectory, back_end: str) -> Progress:
    """What was saved last; the beginning where nothing was, or where the file is damaged.

    To begin again sends everything again, which no back end stores twice.
    """
    try:
        saved: Any = json.loads(directory.sent(back_end).read_bytes())
        places = {writer: Place(int(number), int(offset)) for writer, (number, offset) in saved["places"].items()}
        return Progress(
            RunState(saved["run"]["run_id"], dict(saved["run"]["notes"]), directory.of_back_end(back_end)),
            places,
            Counts(**{key: int(value) for key, value in saved["counts"].items()}),
            Ended(**saved["to_end"]) if saved["to_end"] else None,
            saved["ended"],
            Histogram.of(LATENCY_MS, saved.get("latency_ms")),
            Histogram.of(UPLOAD_BYTES, saved.get("upload_bytes")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Progress(RunState(directory=directory.of_back_end(back_end)))


def save(directory: RunDirectory, back_end: str, progress: Progress) -> None:
    """Replace the file in one step.

    :raises OSError: it cannot be written; then what was sent since is sent again, which does no harm.
    """
    path = directory.sent(back_end)
    path.parent.mkdir(exist_ok=True)
    value = {
        "run": {"run_id": progress.run.run_id, "notes": progress.run.notes},
        "places": {writer: (place.number, place.offset) for writer, place in progress.places.items()},
        "counts": asdict(progress.counts),
        "to_end": asdict(progress.to_end) if progress.to_end else None,
        "ended": progress.ended,
        "latency_ms": progress.latency_ms.to_json(),
        "upload_bytes": progress.upload_bytes.to_json(),
    }
    replace_json(path, value)


def set_aside(directory: RunDirectory, back_end: str, kind: str, record: Mapping[str, object], reason: str) -> None:
    """Keep what a back end refused, with its reason, one line each.

    :raises OSError: it cannot be written.
    """
    path = directory.set_aside(back_end)
    path.parent.mkdir(exist_ok=True)
    line = json.dumps({"kind": kind, **record, "reason": reason, "at_ms": time.time_ns() // 1_000_000})
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
