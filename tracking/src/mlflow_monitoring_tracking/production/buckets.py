"""Buckets of histograms: bounds that are the same everywhere, so that counts of many processes may be added.

A histogram is kept as its counts, one for each bound of values up to it and one for those beyond, and then the sum.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Milliseconds: four to a power of ten, from a tenth of a millisecond to 100 s.
LATENCY_MS = tuple(float(f"{10 ** (power / 4):.2g}") for power in range(-4, 21))
#: Of a confidence between 0 and 1, finer at the end where models are sure.
CONFIDENCE = (*(round(step / 20, 2) for step in range(1, 20)), 0.99, 0.999, 1.0)
_UPWARDS = (*(float(f"{digit}e{power}") for power in range(-2, 6) for digit in (1, 3)), 1e6)
#: Of a predicted number: two to a power of ten, on both sides of 0.
SCORE = (*(-bound for bound in reversed(_UPWARDS)), 0.0, *_UPWARDS)


def quantile(bounds: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """The value below which this share of the values lies, as Prometheus' ``histogram_quantile`` finds it.

    Values are taken as evenly spread in their bucket; those beyond the last bound count as that bound. None without
    values.
    """
    total = sum(counts)
    if total <= 0:
        return None
    wanted, below, lower = share * total, 0.0, min(0.0, bounds[0])
    for bound, count in zip(bounds, counts, strict=False):
        if below + count >= wanted and count > 0:
            return lower + (bound - lower) * max(0.0, wanted - below) / count
        below += count
        lower = bound
    return bounds[-1]
