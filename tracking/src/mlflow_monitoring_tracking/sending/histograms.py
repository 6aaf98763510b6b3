"""How long points took, and how large files were: counts per bucket, which may be summed over runs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: Milliseconds from the call to the back end.
LATENCY_MS = (50.0, 100.0, 500.0, 1000.0, 5000.0)
#: Bytes of an artifact.
UPLOAD_BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)


@dataclass(slots=True)
class Histogram:
    """``counts`` has a number for each bound, of values up to it and above the one before, and one for those beyond."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, values: Iterable[float]) -> None:
        """Count each of these."""
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value

    def add(self, other: Histogram) -> None:
        """Count what another one of the same bounds has."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def to_json(self) -> dict[str, Any]:
        return {"bounds": self.bounds, "counts": self.counts, "sum": self.sum}

    @classmethod
    def of(cls, bounds: tuple[float, ...], saved: Mapping[str, Any] | None) -> Self:
        """What was saved; an empty one where nothing was, or where its bounds were others."""
        if saved is None or tuple(saved["bounds"]) != bounds or len(saved["counts"]) != len(bounds) + 1:
            return cls(bounds)
        return cls(bounds, [int(count) for count in saved["counts"]], float(saved["sum"]))
