"""Where series are entered: each once, at most so many, and those that stay the same stay the same objects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

from mlflow_monitoring_exporter.model import Family, Series, Snapshot
from mlflow_monitoring_exporter.surface.families import Spec

#: Why series are left out: there is no room, or labels that were dropped made them the same as another.
MAX_SERIES, SAME_LABELS = "max_series", "same_labels"


class Book:
    """Collects the series of one snapshot, at most ``room``; what comes first goes first."""

    def __init__(self, groups: Iterable[str], *, room: int) -> None:
        self._room = room
        self._specs: dict[str, Spec] = {}
        self._series: dict[str, dict[str, list[Series]]] = {group: {} for group in groups}
        self._met: dict[str, set[tuple[str, ...]]] = {}
        self._left_out = Counter({MAX_SERIES: 0, SAME_LABELS: 0})

    def enter(self, group: str, spec: Spec, labels: tuple[str, ...], value: float) -> None:
        """One series of ``group``: its labels' values in the order of ``spec.labels``."""
        met = self._met.get(spec.name)
        if met is None:
            met = self._met[spec.name] = set()
            self._specs[spec.name] = spec
        if labels in met:
            self._left_out[SAME_LABELS] += 1
        elif self._room <= 0:
            self._left_out[MAX_SERIES] += 1
        else:
            self._room -= 1
            met.add(labels)
            # One NaN for all, because a NaN equals only itself, and only the same object.
            series = Series(labels, value if value == value else math.nan)  # noqa: PLR0124
            self._series[group].setdefault(spec.name, []).append(series)

    def close(self, before: Snapshot, help_of: Callable[[Spec], str]) -> Snapshot:
        """All that was entered; ``before`` itself when nothing differs from it."""
        old = {(group, family.name): family for group, families in before.groups.items() for family in families}
        texts = {name: help_of(spec) for name, spec in self._specs.items()}
        groups = {}
        for group in sorted(self._series):
            families = []
            for name in sorted(self._series[group]):
                spec = self._specs[name]
                series = tuple(sorted(self._series[group][name], key=_by_labels))
                family = Family(name, texts[name], spec.type, spec.labels, series)
                known = old.get((group, name))
                families.append(known if known is not None and known == family else family)
            known_group = before.groups.get(group)
            groups[group] = tuple(families)
            if known_group is not None and _all_same(known_group, groups[group]):
                groups[group] = known_group
        new = Snapshot(groups, dict(self._left_out))
        same = before.groups.keys() == groups.keys() and all(before.groups[g] is groups[g] for g in groups)
        return before if same and before.left_out == new.left_out else new


def _by_labels(series: Series) -> tuple[str, ...]:
    return series.labels


def _all_same(one: tuple[Family, ...], other: tuple[Family, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
