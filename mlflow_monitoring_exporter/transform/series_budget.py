"""Where series are entered: each once, at most so many, and those that stay the same stay the same objects.

::

    max_series -> fair shares of the experiments, and of the registry
                   |
                   +-> basics: its runs by status; which runs it shows, what becomes of them
                   +-> the rest of their lives
                   +-> half and half, or what the other half leaves: its summary | fair shares of its parts (runs)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.core.values import Demand, Family, Series, Snapshot
from mlflow_monitoring_exporter.prometheus.families import Spec
from mlflow_monitoring_exporter.transform.fair_shares import fair_shares

#: Why series are left out: there is no room, or labels that were dropped made them the same as another.
MAX_SERIES, SAME_LABELS = "max_series", "same_labels"


#: A series: the name of its family, the metric key that it is about, as it was logged (empty where it is about none),
#: its labels and its value. A plain tuple, because of every series there is one.
Entry = tuple[str, str, tuple[str, ...], float]


@dataclass(slots=True)
class GroupSeries:
    """What one group wants to show, the most important first. ``runs_with`` says how many runs have a key."""

    basics: list[Entry] = field(default_factory=list)
    life: list[Entry] = field(default_factory=list)
    summary: list[Entry] = field(default_factory=list)
    parts: list[list[Entry]] = field(default_factory=list)
    runs_with: Callable[[str], int] | None = None

    def part(self) -> list[Entry]:
        """One more part, which gets as much of the room as any other."""
        entries: list[Entry] = []
        self.parts.append(entries)
        return entries

    def __len__(self) -> int:
        return len(self.basics) + len(self.life) + len(self.summary) + sum(map(len, self.parts))

    def first(self, room: int) -> Iterator[Sequence[Entry]]:
        """What of it is shown when only so many series are."""
        if room >= len(self):
            yield from (self.basics, self.life, self.summary, *self.parts)
            return
        for entries in (self.basics, self.life):
            yield entries[:room]
            room = max(0, room - len(entries))
        half, rest = fair_shares([len(self.summary), sum(map(len, self.parts))], room)
        ranks = {key: -self.runs_with(key) for key in self._keys()} if self.runs_with else {}
        yield _first(self.summary, half, ranks)
        for part, share in zip(self.parts, fair_shares(list(map(len, self.parts)), rest), strict=True):
            yield _first(part, share, ranks)

    def _keys(self) -> set[str]:
        return {key for entries in (self.summary, *self.parts) for _, key, _, _ in entries}


def _first(entries: Sequence[Entry], count: int, ranks: Mapping[str, int]) -> Sequence[Entry]:
    """Keys that most runs have come first: they are what runs are compared by."""
    if count >= len(entries) or not ranks:
        return entries[:count]
    order = [ranks[key] for _, key, _, _ in entries]
    return [entries[at] for at in sorted(range(len(entries)), key=order.__getitem__)[:count]]


class SeriesBudget:
    """Collects the series of one snapshot, of which at most ``room`` are shown."""

    def __init__(self, groups: Iterable[str], *, room: int) -> None:
        self._room = room
        self._specs: dict[str, Spec] = {}
        self._shelves: dict[str, GroupSeries] = {group: GroupSeries() for group in sorted(groups)}
        self._met: dict[str, set[tuple[str, ...]]] = {}
        self._same = 0

    def shelf(self, group: str) -> GroupSeries:
        """Where the series of a group go."""
        return self._shelves[group]

    def enter(self, where: list[Entry], spec: Spec, labels: tuple[str, ...], value: float, key: str = "") -> None:
        """One series: its labels' values in the order of ``spec.labels``."""
        met = self._met.get(spec.name)
        if met is None:
            met = self._met[spec.name] = set()
            self._specs[spec.name] = spec
        if labels in met:
            self._same += 1
        else:
            met.add(labels)
            # One NaN for all, because a NaN equals only itself, and only the same object.
            where.append((spec.name, key, labels, value if value == value else math.nan))  # noqa: PLR0124

    def close(
        self,
        before: Snapshot,
        help_of: Callable[[Spec], str],
        name_of: Callable[[str], str],
        originals: Mapping[str, str],
    ) -> Snapshot:
        """What there is room for; ``before`` itself when nothing differs from it.

        ``name_of`` is what the group is called that wants most, when there is not enough room. ``originals`` are
        those of shortened texts, and perhaps of others.
        """
        shown = self._shown()
        old = {(group, family.name): family for group, families in before.groups.items() for family in families}
        texts = {name: help_of(spec) for name, spec in self._specs.items()}
        groups = {}
        for group, by_family in shown.items():
            families = []
            for name in sorted(by_family):
                spec = self._specs[name]
                series = tuple(sorted(by_family[name], key=_by_labels))
                family = Family(name, texts[name], spec.type, spec.labels, series)
                known = old.get((group, name))
                families.append(known if known is not None and known == family else family)
            known_group = before.groups.get(group)
            groups[group] = tuple(families)
            if known_group is not None and _all_same(known_group, groups[group]):
                groups[group] = known_group
        wanted = {group: len(shelf) for group, shelf in self._shelves.items()}
        missing = max(0, sum(wanted.values()) - self._room)
        most = max(wanted, key=wanted.__getitem__)
        demand = (Demand(most, name_of(most), wanted[most]),) if missing else ()
        left_out = {MAX_SERIES: missing, SAME_LABELS: self._same}
        new = Snapshot(groups, left_out, most=demand, originals=dict(originals))
        same = before.groups.keys() == groups.keys() and all(before.groups[g] is groups[g] for g in groups)
        return before if same and (before.left_out, before.most) == (new.left_out, new.most) else new

    def _shown(self) -> dict[str, dict[str, list[Series]]]:
        """The series that there is room for, by group and family."""
        shares = fair_shares(list(map(len, self._shelves.values())), self._room)
        shown: dict[str, dict[str, list[Series]]] = {}
        for (group, shelf), share in zip(self._shelves.items(), shares, strict=True):
            by_family: dict[str, list[Series]] = {}
            shown[group] = by_family
            for entries in shelf.first(share):
                for family, _, labels, value in entries:
                    found = by_family.get(family)
                    if found is None:
                        found = by_family[family] = []
                    found.append(Series(labels, value))
        return shown


def _by_labels(series: Series) -> tuple[str, ...]:
    return series.labels


def _all_same(one: tuple[Family, ...], other: tuple[Family, ...]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
