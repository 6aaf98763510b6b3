"""Collects series: each once, within the budget, and as the same objects while they stay equal.

::

    max_series -> fair shares of the experiments, and of the registry
                   |
                   +-> basics: runs by status; for each shown run what it is, and whether it stalled
                   +-> lifecycle: start, duration, last metric of each shown run
                   +-> half each, or what the other half leaves: summary | fair shares of the parts (runs)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.core.values import Demand, Family, Series, Snapshot
from mlflow_monitoring_exporter.prometheus.families import Spec
from mlflow_monitoring_exporter.transform.fair_shares import fair_shares

#: Why series are left out: no room, or dropped labels made them equal to another.
MAX_SERIES, SAME_LABELS = "max_series", "same_labels"


#: A series: its family, the metric key as it was logged (empty for none), its labels and its value.
#: A plain tuple, because there is one for every series.
Entry = tuple[Spec, str, tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class KeyedSeries:
    """The series of some metric keys, of which each makes ``size``; only those that are shown are made.

    There may be ten thousand keys in each of hundreds of runs, and room for a few hundred.
    """

    keys: Collection[str]
    make: Callable[[str], Iterable[tuple[Spec, tuple[str, ...], float]]]
    size: Callable[[str], int] | None = None

    def __len__(self) -> int:
        return len(self.keys) if self.size is None else sum(map(self.size, self.keys))

    def first(self, count: int, ranks: Mapping[str, int]) -> list[Entry]:
        """The first ``count``, by how many runs have the key, and then by the key."""
        keys = sorted(self.keys)
        if count < len(self) and ranks:
            keys.sort(key=ranks.__getitem__)
        found: list[Entry] = []
        for key in keys:
            if len(found) >= count:
                break
            found += [(spec, key, labels, value) for spec, labels, value in self.make(key)]
        return found[:count]


@dataclass(slots=True)
class GroupSeries:
    """The series of one group, the most important first. ``runs_with`` counts the runs that have a key."""

    basics: list[Entry] = field(default_factory=list)
    lifecycle: list[Entry] = field(default_factory=list)
    summary: KeyedSeries = field(default_factory=lambda: KeyedSeries((), lambda _: ()))
    parts: list[list[Entry] | KeyedSeries] = field(default_factory=list)
    runs_with: Callable[[str], int] | None = None

    def part(self) -> list[Entry]:
        """A new part, with a fair share of the room."""
        entries: list[Entry] = []
        self.parts.append(entries)
        return entries

    def __len__(self) -> int:
        return len(self.basics) + len(self.lifecycle) + len(self.summary) + sum(map(len, self.parts))

    def first(self, room: int, admit: Callable[[Iterable[Entry]], list[Entry]]) -> Iterator[Sequence[Entry]]:
        """The series that are shown when there is room for ``room``; those that are made now pass ``admit``."""
        ranks: Mapping[str, int] = {}
        if self.runs_with and room < len(self):
            ranks = {key: -self.runs_with(key) for key in self._keys()}
        for entries in (self.basics, self.lifecycle):
            yield entries[:room]
            room = max(0, room - len(entries))
        half, rest = fair_shares([len(self.summary), sum(map(len, self.parts))], room)
        yield admit(self.summary.first(half, ranks))
        for part, share in zip(self.parts, fair_shares(list(map(len, self.parts)), rest), strict=True):
            if isinstance(part, KeyedSeries):
                yield admit(part.first(share, ranks))
            else:
                yield _first(part, share, ranks)

    def _keys(self) -> set[str]:
        keys = set(self.summary.keys)
        for part in self.parts:
            keys.update(part.keys if isinstance(part, KeyedSeries) else (key for _, key, _, _ in part))
        return keys


def _first(entries: Sequence[Entry], count: int, ranks: Mapping[str, int]) -> Sequence[Entry]:
    """The first ``count``, by how many runs have the key: common keys are those that runs are compared by."""
    if count >= len(entries) or not ranks:
        return entries[:count]
    order = [ranks[key] for _, key, _, _ in entries]
    return [entries[at] for at in sorted(range(len(entries)), key=order.__getitem__)[:count]]


class SeriesBudget:
    """Collects the series of one snapshot, of which at most ``room`` are shown."""

    def __init__(self, groups: Iterable[str], *, room: int) -> None:
        self._room = room
        self._specs: dict[str, Spec] = {}
        self._groups: dict[str, GroupSeries] = {group: GroupSeries() for group in sorted(groups)}
        self._met: dict[str, set[tuple[str, ...]]] = {}
        self._same = 0

    def group(self, group: str) -> GroupSeries:
        """The series of a group so far."""
        return self._groups[group]

    def add(self, where: list[Entry], spec: Spec, labels: tuple[str, ...], value: float, key: str = "") -> None:
        """One series: its labels' values in the order of ``spec.labels``."""
        where += self._admit([(spec, key, labels, value)])

    def _admit(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those whose labels no other series of their family has."""
        admitted = []
        for entry in entries:
            spec, _, labels, _ = entry
            met = self._met.get(spec.name)
            if met is None:
                met = self._met[spec.name] = set()
                self._specs[spec.name] = spec
            if labels in met:
                self._same += 1
            else:
                met.add(labels)
                admitted.append(entry)
        return admitted

    def snapshot(
        self,
        before: Snapshot,
        help_of: Callable[[Spec], str],
        name_of: Callable[[str], str],
        originals: Mapping[str, str],
    ) -> Snapshot:
        """The series that there is room for; ``before`` itself when nothing differs from it.

        ``name_of`` names the group that wants most series when there is not enough room. ``originals`` holds the whole
        text of each shortened one, and may hold more.
        """
        shown = self._shown()
        texts = {name: help_of(spec) for name, spec in self._specs.items()}
        groups = {
            group: self._families(by_family, before.groups.get(group, ()), texts) for group, by_family in shown.items()
        }
        wanted = {group: len(series) for group, series in self._groups.items()}
        missing = max(0, sum(wanted.values()) - self._room)
        most = max(wanted, key=wanted.__getitem__)
        demand = (Demand(most, name_of(most), wanted[most]),) if missing else ()
        left_out = {MAX_SERIES: missing, SAME_LABELS: self._same}
        new = Snapshot(groups, left_out, most=demand, originals=dict(originals))
        same = before.groups.keys() == groups.keys() and all(before.groups[g] is groups[g] for g in groups)
        return before if same and (before.left_out, before.most) == (new.left_out, new.most) else new

    def _families(
        self, by_family: Mapping[str, list[Series]], before: tuple[Family, ...], texts: Mapping[str, str]
    ) -> tuple[Family, ...]:
        """The families of one group. What equals its part of ``before`` is that part, and may be all of it."""
        known = {family.name: family for family in before}
        families = []
        for name in sorted(by_family):
            spec = self._specs[name]
            series = tuple(sorted(by_family[name], key=_by_labels))
            family = Family(name, texts[name], spec.type, spec.labels, series)
            families.append(known[name] if known.get(name) == family else family)
        return before if _all_same(before, families) else tuple(families)

    def _shown(self) -> dict[str, dict[str, list[Series]]]:
        """The series that there is room for, by group and family."""
        shares = fair_shares(list(map(len, self._groups.values())), self._room)
        shown: dict[str, dict[str, list[Series]]] = {}
        for (name, group), share in zip(self._groups.items(), shares, strict=True):
            by_family: dict[str, list[Series]] = {}
            shown[name] = by_family
            for entries in group.first(share, self._admit):
                for spec, _, labels, value in entries:
                    found = by_family.get(spec.name)
                    if found is None:
                        found = by_family[spec.name] = []
                    # One NaN object for all: tuples compare by identity first, and NaN equals nothing, not even itself.
                    found.append(Series(labels, math.nan if math.isnan(value) else value))
        return shown


def _by_labels(series: Series) -> tuple[str, ...]:
    return series.labels


def _all_same(one: Sequence[Family], other: Sequence[Family]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
