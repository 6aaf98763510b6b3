"""How far what a deployment sees is from its baseline, from sketches: one score for each method, 0 where nothing moved.

::

    numbers      psi   population stability index over ten ranges with as many values of the baseline each
                 ks    Kolmogorov-Smirnov: the largest distance of the two distribution functions
                 js    Jensen-Shannon divergence over the same ranges, to base 2
    categories   psi, js over the frequent categories and all others; chi2: Cramer's V of the two-sample chi-square test

Sketches know ranks to 1.3 %, so a ks below 0.03 says nothing. Chance alone moves psi by about
``(ranges - 1) * (1/n + 1/m)``; docs/reference/production.md says what follows for small windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlflow_monitoring_tracking.features.statistics import FeatureStatistics, sketches

#: Values of a window below which nothing is said: chance would say it.
LEAST = 500
_RANGES = 10
#: What an empty range counts as, so that one value that is new is not infinitely far.
_NOTHING = 1e-4
#: Share below which a category is one of the others.
_RARE = 0.005
_OTHERS = ""


def drift(baseline: FeatureStatistics, window: FeatureStatistics) -> dict[str, float]:
    """Scores by method; empty where there are too few values, no sketches, or values of another kind."""
    if sketches() is None or baseline.kind is None or baseline.kind != window.kind:
        return {}
    if baseline.kind == "number":
        if min(baseline.numbers, window.numbers) < LEAST or baseline.quantiles is None or window.quantiles is None:
            return {}
        return _of_numbers(baseline, window)
    if min(baseline.texts, window.texts) < LEAST:
        return {}
    return _of_categories(baseline, window)


def _of_numbers(baseline: FeatureStatistics, window: FeatureStatistics) -> dict[str, float]:
    inner = [baseline.quantile(rank / _RANGES) for rank in range(1, _RANGES)]
    bounds = sorted({bound for bound in inner if bound is not None})
    expected, found = (_ranges(of, bounds) for of in (baseline, window))
    points = sorted({of.quantile(rank / 100) or 0.0 for of in (baseline, window) for rank in range(101)})
    distribution = [of.quantiles.get_cdf(points) for of in (baseline, window) if of.quantiles is not None]
    distance = max(abs(one - other) for one, other in zip(*distribution, strict=True))
    return {"psi": psi(expected, found), "ks": float(distance), "js": jensen_shannon(expected, found)}


def _ranges(of: FeatureStatistics, bounds: Sequence[float]) -> list[float]:
    """The share of values in each range; a value that is a bound belongs to the range that begins there."""
    return [float(share) for share in of.quantiles.get_pmf(list(bounds))] if of.quantiles is not None else []


def _of_categories(baseline: FeatureStatistics, window: FeatureStatistics) -> dict[str, float]:
    before, now = baseline.shares(), window.shares()
    labels = before.keys() | now.keys()
    known = sorted(label for label in labels if max(before.get(label, 0.0), now.get(label, 0.0)) > _RARE)
    expected, found = ([shares.get(label, 0.0) for label in known] for shares in (before, now))
    for shares in (expected, found):
        shares.append(max(0.0, 1.0 - sum(shares)))
    scores = {"psi": psi(expected, found), "js": jensen_shannon(expected, found)}
    scores["chi2"] = cramers_v(expected, found, baseline.texts, window.texts)
    return scores


def psi(expected: Sequence[float], found: Sequence[float]) -> float:
    """Of two lists of shares."""
    pairs = [(max(one, _NOTHING), max(other, _NOTHING)) for one, other in zip(expected, found, strict=True)]
    return sum((other - one) * math.log(other / one) for one, other in pairs)


def jensen_shannon(expected: Sequence[float], found: Sequence[float]) -> float:
    """The divergence, to base 2: from 0 to 1."""
    total = 0.0
    for one, other in zip(expected, found, strict=True):
        middle = (one + other) / 2
        total += sum(share * math.log2(share / middle) for share in (one, other) if share > 0) / 2
    return max(0.0, total)


def cramers_v(expected: Sequence[float], found: Sequence[float], before: int, now: int) -> float:
    """The statistic of the two-sample chi-square test as an effect from 0 to 1, the same for any number of values."""
    statistic, whole = 0.0, before + now
    for one, other in zip(expected, found, strict=True):
        together = one * before + other * now
        for share, size in ((one, before), (other, now)):
            if (awaited := together * size / whole) > 0:
                statistic += (share * size - awaited) ** 2 / awaited
    return math.sqrt(statistic / whole)
