"""Snapshots made of others, family by family; those that stay stay the same objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlflow_monitoring_exporter.core.values import Family, Snapshot


class SnapshotMapping:
    """What ``part`` makes of each family, None for nothing; ``group`` renames the groups."""

    def __init__(
        self, part: Callable[[Family], Family | None], group: Callable[[str], str] = lambda group: group
    ) -> None:
        self._part = part
        self._group = group
        # By identity: a snapshot keeps the families that stay. The family is kept, so that its id stays its own.
        self._known: dict[int, tuple[Family, Family | None]] = {}
        self._last: tuple[Snapshot, Snapshot] | None = None

    def of(self, snapshot: Snapshot) -> Snapshot:
        """The same object for the same snapshot."""
        if self._last is None or self._last[0] is not snapshot:
            known: dict[int, tuple[Family, Family | None]] = {}
            groups = {}
            for group, families in snapshot.groups.items():
                for family in families:
                    known[id(family)] = self._known.get(id(family)) or (family, self._part(family))
                parts = (known[id(family)][1] for family in families)
                groups[self._group(group)] = tuple(part for part in parts if part is not None)
            self._known = known
            self._last = snapshot, replace(snapshot, groups=groups)
        return self._last[1]
