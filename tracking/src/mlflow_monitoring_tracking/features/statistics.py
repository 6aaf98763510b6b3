"""What is known of the values of one feature in one window; statistics of several processes are added.

Count, missing values, mean and extremes always. Quantiles, distinct values and frequent categories are kept in sketches
of Apache DataSketches, where the extra ``[monitor]`` is installed: KLL (rank error 1.3 %), HLL (2 %), frequent items.
"""

from __future__ import annotations

import base64
import functools
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

#: Sizes of the sketches: k of KLL, lg(k) of HLL and of frequent items (256 counters).
_KLL, _HLL, _ITEMS = 200, 11, 9
#: Numbers of a window of one process among which the different ones are counted: it costs more than all else.
_COUNTED = 2048


@functools.cache
def sketches() -> Any | None:
    """The package datasketches, if it is installed."""
    try:
        import datasketches
    except ImportError:
        return None
    return datasketches


class FeatureStatistics:
    """Of one feature. Not safe for threads."""

    __slots__ = ("categories", "distinct", "high", "low", "missing", "numbers", "quantiles", "texts", "total")

    def __init__(self) -> None:
        self.missing = 0
        #: How many values were numbers, and how many were categories: text, truth, anything else.
        self.numbers = 0
        self.texts = 0
        self.total = 0.0
        self.low, self.high = math.inf, -math.inf
        found = sketches()
        self.quantiles = found.kll_doubles_sketch(_KLL) if found else None
        self.distinct = found.hll_union(_HLL) if found else None
        self.categories = found.frequent_strings_sketch(_ITEMS) if found else None

    @property
    def count(self) -> int:
        """All values, missing ones too."""
        return self.missing + self.numbers + self.texts

    @property
    def missing_ratio(self) -> float:
        """The share of values that are None or NaN."""
        return self.missing / self.count if self.count else 0.0

    @property
    def mean(self) -> float | None:
        """Of the numbers."""
        return self.total / self.numbers if self.numbers else None

    @property
    def kind(self) -> str | None:
        """``number`` or ``category``, whatever most values are; None where all are missing."""
        return None if not self.numbers + self.texts else "number" if self.numbers >= self.texts else "category"

    def update(self, values: list[Any], *, plain: bool) -> None:
        """Add values. The text of categories is kept as it is if ``plain``, and else hashed."""
        kinds = set(map(type, values))
        if kinds == {float}:
            numbers = [value for value in values if not math.isnan(value)]
            texts: list[str] = []
        else:
            numbers, texts = _split(values)
        self.missing += len(values) - len(numbers) - len(texts)
        if numbers:
            self._add_numbers(numbers)
        if texts:
            self.texts += len(texts)
            if self.categories is not None:
                for text, number in Counter(texts).items():
                    label = text[:200] if plain else f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
                    self.categories.update(label, number)
                    self.distinct.update(label)  # type: ignore[union-attr]  # both are there or neither

    def _add_numbers(self, numbers: list[float]) -> None:
        finite = numbers
        if not math.isfinite(total := sum(numbers)):
            finite = [value for value in numbers if math.isfinite(value)]
            total = sum(finite)
            self.missing += len(numbers) - len(finite)
        if not finite or not math.isfinite(total):
            return
        self.numbers += len(finite)
        self.total += total
        self.low, self.high = min(self.low, *finite), max(self.high, *finite)
        if self.quantiles is not None:
            found = sketches()
            self.quantiles.update(found.np.asarray(finite, dtype=float))  # type: ignore[union-attr]
            if self.numbers <= _COUNTED:
                add = self.distinct.update  # type: ignore[union-attr]
                for value in set(finite):
                    add(value)

    def merge(self, other: FeatureStatistics) -> None:
        """Add what another process saw."""
        self.missing += other.missing
        self.numbers += other.numbers
        self.texts += other.texts
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        if self.quantiles is not None and other.quantiles is not None:
            self.quantiles.merge(other.quantiles)
            self.categories.merge(other.categories)  # type: ignore[union-attr]
            self.distinct.update(other.distinct.get_result())  # type: ignore[union-attr]
        elif other.count:  # of a process without sketches: these would be of some of the values only
            self.quantiles = self.distinct = self.categories = None

    def quantile(self, share: float) -> float | None:
        """The number below which this share of the numbers lies; None without sketches or numbers."""
        if self.quantiles is None or not self.numbers:
            return None
        return float(self.quantiles.get_quantile(share))

    def distinct_values(self) -> float | None:
        """About how many different values there were, of numbers among the first 2,048 or so; None without sketches."""
        return float(self.distinct.get_estimate()) if self.distinct is not None else None

    def shares(self) -> dict[str, float]:
        """Categories, hashed or not, with their shares of all; those that are frequent enough to be known."""
        if self.categories is None or not self.texts:
            return {}
        kind = sketches().frequent_items_error_type.NO_FALSE_NEGATIVES  # type: ignore[union-attr]
        return {label: count / self.texts for label, count, *_ in self.categories.get_frequent_items(kind)}

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        said: dict[str, Any] = {
            "missing": self.missing,
            "numbers": self.numbers,
            "texts": self.texts,
            "total": self.total,
            "low": self.low if self.numbers else None,
            "high": self.high if self.numbers else None,
        }
        if self.quantiles is not None:
            said["quantiles"] = _encoded(self.quantiles.serialize())
            said["categories"] = _encoded(self.categories.serialize())  # type: ignore[union-attr]
            said["distinct"] = _encoded(self.distinct.get_result().serialize_compact())  # type: ignore[union-attr]
        return said

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """What :meth:`to_json` gave. Sketches are left out where they cannot be read.

        :raises KeyError, TypeError, ValueError: it is something else.
        """
        made = cls()
        made.missing, made.numbers, made.texts = int(said["missing"]), int(said["numbers"]), int(said["texts"])
        made.total = float(said["total"])
        if made.numbers:
            made.low, made.high = float(said["low"]), float(said["high"])
        found = sketches()
        if found is None or "quantiles" not in said:
            made.quantiles = made.distinct = made.categories = None
            return made
        made.quantiles = found.kll_doubles_sketch.deserialize(_decoded(said["quantiles"]))
        made.categories = found.frequent_strings_sketch.deserialize(_decoded(said["categories"]))
        made.distinct = found.hll_union(_HLL)
        made.distinct.update(found.hll_sketch.deserialize(_decoded(said["distinct"])))
        return made


def merged(many: Iterable[Mapping[str, FeatureStatistics]]) -> dict[str, FeatureStatistics]:
    """The statistics of several processes or windows as one; they stay as they are."""
    found: dict[str, FeatureStatistics] = {}
    for features in many:
        for name, statistics in features.items():
            found.setdefault(name, FeatureStatistics()).merge(statistics)
    return found


def _split(values: list[Any]) -> tuple[list[float], list[str]]:
    """Numbers and texts; what is None or NaN is neither."""
    numbers: list[float] = []
    texts: list[str] = []
    for value in values:
        kind = type(value)
        if kind is float or kind is int:
            number: Any = value
        elif value is None:
            continue
        elif kind is str or kind is bool:
            texts.append(str(value))
            continue
        else:  # of numpy, of pandas, of decimal: whatever says that it is one
            try:
                item = getattr(value, "item", None)
                number = item() if callable(item) else value
                if isinstance(number, (str, bool)) or not hasattr(number, "__float__"):
                    texts.append(str(number))
                    continue
            except (TypeError, ValueError):
                continue
        try:
            number = float(number)
        except (OverflowError, TypeError, ValueError):
            continue
        if not math.isnan(number):
            numbers.append(number)
    return numbers, texts


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)
