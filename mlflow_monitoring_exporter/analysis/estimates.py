"""The few statistics that answers about runs rest on. Python's own are enough; tests hold them against SciPy's."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

#: Draws of a bootstrap, and the share of them that an interval holds.
DRAWS = 1000
CONFIDENCE = 0.95

#: Student's 97.5 % quantiles for 1 to 30 degrees of freedom (scipy.stats.t.ppf); above they are nearly the normal one.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = NormalDist()
#: Pairs of periods that a slope is taken from; more are thinned.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a value lies with 95 % confidence."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Trend:
    """How values change: by ``slope`` for each unit of x, and how likely that much is without any trend."""

    slope: float
    p_value: float

    @property
    def significant(self) -> bool:
        return self.p_value < 1 - CONFIDENCE


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, in between by straight lines, as NumPy does; NaN of none."""
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def mean_interval(values: Sequence[float], *, block: int = 1, draws: int = DRAWS) -> Interval | None:
    """Of the mean, by bootstrap; None for fewer than two values.

    ``block`` neighbours are drawn together, for values that depend on those before them (a curve).
    """
    if len(values) < 2:
        return None
    return _widened(_means(values, block, draws, random.Random(len(values))), fmean(values), _effective(values, block))  # noqa: S311 - draws, no secret


def difference_interval(
    values: Sequence[float], others: Sequence[float], *, block: int = 1, draws: int = DRAWS
) -> Interval | None:
    """Of how much larger the mean of ``values`` is than that of ``others``; None where either has fewer than two."""
    if len(values) < 2 or len(others) < 2:
        return None
    source = random.Random(len(values) * 31 + len(others))  # noqa: S311 - draws, no secret
    pairs = zip(_means(values, block, draws, source), _means(others, block, draws, source), strict=True)
    count = min(_effective(values, block), _effective(others, block))
    return _widened([one - other for one, other in pairs], fmean(values) - fmean(others), count)


def block_of(values: Sequence[float]) -> int:
    """How many neighbours of a curve are drawn together: the cube root of their number (Hall, Horowitz, Jing 1995)."""
    return max(1, round(math.cbrt(len(values))))


def trend(places: Sequence[float], values: Sequence[float]) -> Trend | None:
    """The slope of Theil and Sen, and the p-value of Kendall's tau; None for fewer than three values.

    Neither minds outliers, or what the values are distributed like.
    """
    pairs = sorted(zip(places, values, strict=True))
    if len(pairs) < 3:
        return None
    thinned = pairs[:: -(-len(pairs) // _MOST)]
    slopes: list[float] = []
    balance = 0
    for at, (x, y) in enumerate(thinned):
        for other_x, other_y in thinned[at + 1 :]:
            if other_x != x:
                slopes.append((other_y - y) / (other_x - x))
                balance += (other_y > y) - (other_y < y)
    if not slopes:
        return None
    return Trend(quantile(sorted(slopes), 0.5), _tau_p_value(thinned, balance))


def _means(values: Sequence[float], block: int, draws: int, source: random.Random) -> list[float]:
    count = len(values)
    if block <= 1:
        return [fmean(source.choices(values, k=count)) for _ in range(draws)]
    sums = [0.0]
    for value in [*values, *values[: block - 1]]:  # in a circle, so that ends are drawn as often as the middle
        sums.append(sums[-1] + value)
    blocks = [(sums[at + block] - sums[at]) / block for at in range(count)]
    return [fmean(source.choices(blocks, k=math.ceil(count / block))) for _ in range(draws)]


def _effective(values: Sequence[float], block: int) -> int:
    return max(2, len(values) // block)


def _widened(drawn: list[float], middle: float, count: int) -> Interval:
    """The percentiles of the draws, widened for few values, of which a bootstrap thinks too well (Hesterberg 2015)."""
    drawn.sort()
    quantile_of_t = _T[count - 2] if count - 1 <= len(_T) else _NORMAL.inv_cdf(1 - (1 - CONFIDENCE) / 2)
    factor = quantile_of_t / _NORMAL.inv_cdf(1 - (1 - CONFIDENCE) / 2) * math.sqrt(count / (count - 1))
    low, high = quantile(drawn, (1 - CONFIDENCE) / 2), quantile(drawn, 1 - (1 - CONFIDENCE) / 2)
    return Interval(middle + (low - middle) * factor, middle + (high - middle) * factor)


def _tau_p_value(pairs: Sequence[tuple[float, float]], balance: int) -> float:
    """Of Kendall's S, two-sided, with the variance for ties (as ``scipy.stats.kendalltau(method="asymptotic")``)."""
    count = len(pairs)
    sizes = [_ties([x for x, _ in pairs]), _ties([y for _, y in pairs])]

    def total(term: Callable[[int], float], side: int) -> float:
        return sum(term(size) for size in sizes[side])

    whole = count * (count - 1)
    variance = (whole * (2 * count + 5) - sum(total(lambda n: n * (n - 1) * (2 * n + 5), side) for side in (0, 1))) / 18
    variance += total(lambda n: n * (n - 1), 0) * total(lambda n: n * (n - 1), 1) / (2 * whole)
    three = lambda n: n * (n - 1) * (n - 2)  # noqa: E731 - named for the line below
    variance += total(three, 0) * total(three, 1) / (9 * whole * (count - 2))
    if variance <= 0:
        return 1.0
    return 2 * _NORMAL.cdf(-abs(balance) / math.sqrt(variance))


def _ties(values: Sequence[float]) -> list[int]:
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [size for size in counts.values() if size > 1]
