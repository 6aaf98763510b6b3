"""Whether a difference between runs is more than noise.

Noise is what repeats of the same thing differ by: runs with equal parameters but for their seed. Without repeats it is
what the end of a run's own curve still moves by, which is less: seeds may differ by more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from mlflow_monitoring_exporter.analysis.curves import Curve, Curves
from mlflow_monitoring_exporter.analysis.estimates import Interval, block_of, difference_interval, mean_interval
from mlflow_monitoring_exporter.analysis.ranking import Ranking, values_of
from mlflow_monitoring_exporter.core.values import Run

_SEED = re.compile(r"(?i)(?:^|[^a-z])(?:seed|random_?state|rng|repeat|fold|trial)s?(?:$|[^a-z])")
#: The last part of a curve: this share of its points, and how few and how many that may be.
_TAIL, _FEWEST, _MOST = 0.2, 8, 200


@dataclass(frozen=True, slots=True)
class Spread:
    """Values that should be equal but for noise: their mean, its interval, and their sample standard deviation.

    ``run_ids`` are several for repeats, and one for the end of a curve of ``count`` points.
    """

    run_ids: tuple[str, ...]
    count: int
    mean: float
    stddev: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one run is than another, where the true difference lies, and what the noise was taken from.

    ``real`` is None where nothing tells how much noise there is. ``basis`` is ``repeats``, ``curve`` or empty.
    """

    by: float
    interval: Interval | None
    basis: str
    counts: tuple[int, int] = (1, 1)

    @property
    def real(self) -> bool | None:
        return None if self.interval is None else 0 not in self.interval


def repeats(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Runs of one experiment with equal parameters but for their seed, where there are several and any parameter."""
    groups: dict[tuple[str, frozenset[tuple[str, str]]], list[Run]] = {}
    for run in runs:
        settings = frozenset((key, value) for key, value in run.params.items() if not _SEED.search(key))
        if settings:
            groups.setdefault((run.experiment_id, settings), []).append(run)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def spread_of_repeats(group: Sequence[Run], metric: str) -> Spread | None:
    """Of their latest finite values; None for fewer than two."""
    values = _values(group, metric)
    return _spread([run.run_id for run in group if run.run_id in values], list(values.values()), 1)


def spread_of_curve(run_id: str, curve: Curve | None) -> Spread | None:
    """Of the last fifth of a curve; None where that is too little to say."""
    values = _end(curve)
    return _spread([run_id], values, block_of(values)) if values else None


def difference(
    one: Run, other: Run, ranking: Ranking, groups: Sequence[Sequence[Run]], curves: Curves
) -> Difference | None:
    """How much better ``one`` is than ``other`` by ``ranking``; None where either has no finite value."""
    metric, sign = ranking.metric, ranking.sign
    ends = [values_of(run).get(metric, math.nan) for run in (one, other)]
    if not all(map(math.isfinite, ends)):
        return None
    by_run = {run.run_id: group for group in groups for run in group}
    sides = [list(_values(by_run.get(run.run_id, (run,)), metric).values()) for run in (one, other)]
    same = by_run.get(one.run_id) is by_run.get(other.run_id) is not None
    interval = None if same else difference_interval([sign * v for v in sides[0]], [sign * v for v in sides[1]])
    if interval is not None:
        return Difference(
            sign * (fmean(sides[0]) - fmean(sides[1])), interval, "repeats", (len(sides[0]), len(sides[1]))
        )
    if same:  # repeats of one thing: whatever they differ by is noise
        spread = max(sides[0]) - min(sides[0])
        return Difference(sign * (ends[0] - ends[1]), Interval(-spread, spread), "repeats", (len(sides[0]),) * 2)
    tails = [[sign * value for value in _end(curves.get((run.run_id, metric)))] for run in (one, other)]
    interval = difference_interval(*tails, block=block_of(min(tails, key=len))) if all(tails) else None
    counts = (len(tails[0]), len(tails[1]))
    by = sign * (ends[0] - ends[1])
    return Difference(by, None, "") if interval is None else Difference(by, interval, "curve", counts)


def _values(group: Sequence[Run], metric: str) -> Mapping[str, float]:
    found = {run.run_id: values_of(run).get(metric, math.nan) for run in group}
    return {run_id: value for run_id, value in found.items() if math.isfinite(value)}


def _end(curve: Curve | None) -> list[float]:
    """The finite values of the last part of a curve, in the order of their steps; none where there are too few."""
    values = [] if curve is None else curve.finite()
    count = min(max(_FEWEST, round(len(values) * _TAIL)), _MOST)
    return values[-count:] if len(values) >= 2 * _FEWEST else []


def _spread(run_ids: Sequence[str], values: Sequence[float], block: int) -> Spread | None:
    if len(values) < 2:
        return None
    return Spread(tuple(run_ids), len(values), fmean(values), stdev(values), mean_interval(values, block=block))
