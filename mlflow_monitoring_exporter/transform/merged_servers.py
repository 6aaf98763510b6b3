"""The gauges of several tracking servers as one snapshot, each with its server's name."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from mlflow_monitoring_exporter.core.values import Family, Series, Snapshot, group_of
from mlflow_monitoring_exporter.transform.snapshot_mapping import SnapshotMapping

#: The label that says which tracking server it is, where they have names.
SERVER = "server"


class MergedServers:
    """The newest snapshot of each of these servers, by name; "" for one that has none. For any thread."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._named = {name: _named(name) for name in names if name}
        self._lock = threading.Lock()
        self._newest: dict[str, Snapshot] = {}
        self._joined = Snapshot({})
        self._parts: list[Snapshot] = []

    def put(self, name: str, snapshot: Snapshot) -> Snapshot:
        """All together, with ``snapshot`` as the one of ``name``; the same object if nothing differs."""
        with self._lock:
            self._newest[name] = self._named[name].of(snapshot) if name else snapshot
            return self._together()

    def drop(self, name: str) -> Snapshot:
        """All that is left: another replica shows ``name`` now."""
        with self._lock:
            self._newest.pop(name, None)
            return self._together()

    def _together(self) -> Snapshot:
        parts = [self._newest[each] for each in self._names if each in self._newest]
        if len(self._parts) != len(parts) or any(a is not b for a, b in zip(parts, self._parts, strict=True)):
            self._parts, self._joined = parts, self._join(parts)
        return self._joined

    def _join(self, parts: Sequence[Snapshot]) -> Snapshot:
        if len(self._names) == len(parts) == 1:
            return parts[0]
        groups = {group: families for part in parts for group, families in part.groups.items()}
        left_out = Counter({reason: 0 for part in parts for reason in part.left_out})
        for part in parts:
            left_out.update(part.left_out)
        return Snapshot(
            groups,
            dict(left_out),
            whole=len(parts) == len(self._names),
            most=tuple(demand for part in parts for demand in part.most),
            originals={shown: original for part in parts for shown, original in part.originals.items()},
        )


def _named(name: str) -> SnapshotMapping:
    def part(family: Family) -> Family:
        series = tuple(Series((name, *one.labels), one.value) for one in family.series)
        return family._replace(labels=(SERVER, *family.labels), series=series)

    return SnapshotMapping(part, lambda experiment_id: group_of(name, experiment_id))
