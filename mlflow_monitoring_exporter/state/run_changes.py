"""Runs as they were read against what the mirror knows of them: which are new, which are not what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Row

from mlflow_monitoring_exporter.core.plausible_times import remembered
from mlflow_monitoring_exporter.core.values import OPEN_STATUSES, Point, Run
from mlflow_monitoring_exporter.state.last_logged import last_logged
from mlflow_monitoring_exporter.state.schema import run
from mlflow_monitoring_exporter.state.series_changes import KnownSeries

#: How much of the usual gap between two metrics the newest one makes.
_NEWEST_GAP = 0.3
#: In ms, a century: two odd times may lie further apart than a database's integer reaches.
_LONGEST_GAP = 100 * 365 * 86_400_000

#: What may change of a run.
CHANGING = (
    *(run.c.experiment_id, run.c.name, run.c.status, run.c.start_ms, run.c.end_ms, run.c.parent_run_id),
    *(run.c.tags, run.c.labels, run.c.tagged_stage, run.c.registry_stage, run.c.present),
    *(run.c.last_ms, run.c.alive_ms),
)
#: What is read of a known run.
KNOWN = (run.c.id, run.c.run_id, run.c.gap_ms, *CHANGING)
_NAMES = tuple(column.name for column in CHANGING)


@dataclass(frozen=True, slots=True)
class Selected:
    """A run as it is exported: only selected metrics and tags; its stage by its tags and by the registry.

    ``labels`` are those that the operator added to its gauges.
    """

    run: Run
    tags: Mapping[str, str]
    tagged_stage: str
    registry_stage: str
    latest: tuple[Point, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunChanges:
    """Rows of runs that are new, and of those that are not what they were; the others by id.

    A changed row also has its id (``pk``), and whether the run ended since it was last read (``ended``).
    """

    fresh: Sequence[dict[str, Any]]
    changed: Sequence[dict[str, Any]]
    unchanged: Sequence[int]


def run_changes(
    page: Sequence[Selected],
    known: Mapping[str, Row[Any]],
    series: Mapping[int, Mapping[str, KnownSeries]],
    read_ms: int,
) -> RunChanges:
    """Compare runs that were read at ``read_ms`` with their rows, by run id, and their series, by row id and key."""
    fresh: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    unchanged: list[int] = []
    for item in page:
        old = known.get(item.run.run_id)
        row = _row(item, read_ms, old, {} if old is None else series.get(old.id, {}))
        if old is None:
            fresh.append(row)
        elif tuple(row[name] for name in _NAMES) != tuple(old)[-len(_NAMES) :]:
            ended = old.status in OPEN_STATUSES and item.run.status.terminal
            gap = _gap(old.gap_ms, old.last_ms, row["last_ms"])
            changed.append({**row, "pk": old.id, "ended": ended, "gap_ms": gap})
        else:
            unchanged.append(old.id)
    return RunChanges(fresh, changed, unchanged)


def _row(item: Selected, read_ms: int, old: Any, known: Mapping[str, KnownSeries]) -> dict[str, Any]:
    """A run as it is stored; ``old`` is its row and ``known`` its series as they were read last, if ever."""
    found = item.run
    same_status = old is not None and old.status == found.status.value

    def is_new(point: Point) -> bool:
        return point.key not in known or not known[point.key].is_latest(point)

    before = (None, None) if old is None else (old.last_ms, old.alive_ms)
    last_ms, alive_ms = last_logged(item.latest, read_ms, before=before, is_new=is_new)
    return {
        "run_id": found.run_id,
        "experiment_id": found.experiment_id,
        "name": found.name,
        "status": found.status.value,
        "start_ms": remembered(found.start_ms, read_ms, None if old is None else old.start_ms),
        "end_ms": remembered(found.end_ms, read_ms, old.end_ms if same_status else None),
        "parent_run_id": found.parent_run_id,
        "tags": orjson.dumps(dict(item.tags), option=orjson.OPT_SORT_KEYS).decode(),
        "labels": orjson.dumps(dict(item.labels), option=orjson.OPT_SORT_KEYS).decode(),
        "last_ms": last_ms,
        "alive_ms": alive_ms,
        "tagged_stage": item.tagged_stage,
        "registry_stage": item.registry_stage,
        "present": True,
    }


def _gap(usual: int | None, before: int | None, now: int | None) -> int | None:
    """The usual time between two metrics, of which the newest gap makes a part."""
    if before is None or now is None or now <= before:
        return usual
    gap = min(now - before, _LONGEST_GAP)
    return gap if usual is None else round(usual + _NEWEST_GAP * (gap - usual))
