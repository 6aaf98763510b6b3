"""The counts of many processes, living and dead, as one.

::

    <directory>/<pid>-<random>.counts    of one process, which holds a lock on it as long as it lives
    <directory>/closed.json              of all that are dead: totals, and the names of the files that are in them
    <directory>/closed.lock              one folds at a time

A file whose lock is free belongs to a dead process: its numbers go to the totals, and then it is removed. Who dies
between the two leaves a file whose name is in ``closed.json``, so it is not added again. So there are about as many
files as living processes, and no total ever goes back.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_monitoring_tracking.production.counts import Counts, DamagedCountsError, added, read_counts
from mlflow_monitoring_tracking.spool.drafts import replace_json
from mlflow_monitoring_tracking.spool.locks import exclusive, is_held

_ENDING = ".counts"


@dataclass(frozen=True, slots=True)
class _Closed:
    """What dead processes counted, and the files that are in it and may still be there."""

    totals: dict[str, list[float]] = field(default_factory=dict)
    folded: frozenset[str] = frozenset()


def open_counts(directory: Path) -> Counts:
    """The file of this process, locked until it ends. A forked child opens its own.

    :raises OSError: it cannot be made.
    """
    with _locked(directory):  # or who folds at this instant would take it for a dead process's
        counts = Counts(directory / f"{os.getpid()}-{uuid.uuid4().hex[:12]}{_ENDING}")
        counts.lock()
    return counts


def totals(directory: Path) -> dict[str, list[float]]:
    """Everything that was ever counted in this directory, as it is now."""
    with _locked(directory):
        closed = _read_closed(directory)
        found = closed.totals
        for path in _files(directory):
            if path.name not in closed.folded:
                with suppress(OSError, DamagedCountsError):
                    found = added(found, read_counts(path))
        return found


def fold(directory: Path) -> int:
    """Take the files of dead processes together; how many there were."""
    with _locked(directory):
        closed = _read_closed(directory)
        dead = [path for path in _files(directory) if path.name in closed.folded or not is_held(path)]
        sums, names = closed.totals, set()
        for path in dead:
            if path.name not in closed.folded:
                with suppress(DamagedCountsError):  # of a process that died before it had written anything
                    sums = added(sums, read_counts(path))
            names.add(path.name)
        if names:
            _write_closed(directory, _Closed(sums, frozenset(names)))
            for path in dead:
                path.unlink(missing_ok=True)
        return len(dead)


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*{_ENDING}"))


def _read_closed(directory: Path) -> _Closed:
    try:
        kept = json.loads((directory / "closed.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Closed()
    return _Closed({key: list(map(float, values)) for key, values in kept["totals"].items()}, frozenset(kept["folded"]))


def _write_closed(directory: Path, closed: _Closed) -> None:
    """As a whole, and on the disk before any file that is in it is removed."""
    said = {"totals": closed.totals, "folded": sorted(closed.folded)}
    replace_json(directory / "closed.json", said, durable=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory / "closed.lock"):
        yield
