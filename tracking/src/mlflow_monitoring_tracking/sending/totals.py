"""What became of runs whose files were removed since everything had them: sums, in one small file of the spool.

::

    <spool>/totals.json        replaced under a lock whenever a run is removed or adopted
    <spool>/totals.lock

With the files of the runs that are there, they are what a monitor counts: nothing is counted twice, nor forgotten when
a process ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.sending.histograms import LATENCY_MS, UPLOAD_BYTES, Histogram
from mlflow_monitoring_tracking.sending.progress import Progress
from mlflow_monitoring_tracking.spool.drafts import replace_json
from mlflow_monitoring_tracking.spool.locks import exclusive


@dataclass(slots=True)
class BackEndTotals:
    """Of one back end: points that it took, points and other records that it permanently rejected."""

    delivered_points: int = 0
    set_aside: int = 0
    latency_ms: Histogram = field(default_factory=lambda: Histogram(LATENCY_MS))
    upload_bytes: Histogram = field(default_factory=lambda: Histogram(UPLOAD_BYTES))

    def add(self, progress: Progress) -> None:
        """What a run's progress says."""
        self.delivered_points += progress.counts.delivered_points
        self.set_aside += progress.counts.set_aside_points + progress.counts.set_aside
        self.latency_ms.add(progress.latency_ms)
        self.upload_bytes.add(progress.upload_bytes)


@dataclass(slots=True)
class Totals:
    """Of a whole spool: ``runs`` logged, ``adopted`` runs ended for dead processes, ``lost_points`` never written."""

    runs: int = 0
    adopted: int = 0
    lost_points: int = 0
    back_ends: dict[str, BackEndTotals] = field(default_factory=dict)

    def of(self, back_end: str) -> BackEndTotals:
        return self.back_ends.setdefault(back_end, BackEndTotals())


def load_totals(spool: Path) -> Totals:
    """Of the runs that were removed; nothing where the file is not there or damaged."""
    try:
        saved: Any = json.loads((spool / "totals.json").read_bytes())
        return Totals(
            int(saved["runs"]),
            int(saved["adopted"]),
            int(saved["lost_points"]),
            {
                name: BackEndTotals(
                    int(one["delivered_points"]),
                    int(one["set_aside"]),
                    Histogram.of(LATENCY_MS, one["latency_ms"]),
                    Histogram.of(UPLOAD_BYTES, one["upload_bytes"]),
                )
                for name, one in saved["back_ends"].items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Totals()


def change_totals(spool: Path, change: Callable[[Totals], None]) -> None:
    """Change them, while no other process does. A spool that cannot be written keeps those it had."""
    with suppress(OSError), exclusive(spool / "totals.lock"):
        totals = load_totals(spool)
        change(totals)
        replace_json(spool / "totals.json", _to_json(totals))


def _to_json(totals: Totals) -> dict[str, Any]:
    return {
        "runs": totals.runs,
        "adopted": totals.adopted,
        "lost_points": totals.lost_points,
        "back_ends": {
            name: {
                "delivered_points": one.delivered_points,
                "set_aside": one.set_aside,
                "latency_ms": one.latency_ms.to_json(),
                "upload_bytes": one.upload_bytes.to_json(),
            }
            for name, one in totals.back_ends.items()
        },
    }
