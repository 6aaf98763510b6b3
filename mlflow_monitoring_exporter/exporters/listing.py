"""What a Pushgateway holds, by its own listing (https://github.com/prometheus/pushgateway#query-api).

A family has one type in all of a gateway. A push with another one is refused whole, and so is one with a family
that is called like a series of another histogram or summary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from mlflow_monitoring_exporter.core.values import Family, group_of

#: What the series of these types are called, besides the family's own name.
_SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}


@dataclass(frozen=True, slots=True)
class HeldGroup:
    """A group: its labels, when it was pushed (in Unix seconds), and the types of its families, in small letters."""

    labels: Mapping[str, str]
    pushed_at: float
    types: Mapping[str, str]

    def ours(self, job: str) -> str | None:
        """The group of a snapshot that it stands for; None when it is none of ``job``'s."""
        if self.labels.keys() - {"server"} != {"job", "experiment_id"} or self.labels["job"] != job:
            return None
        return group_of(self.labels.get("server", ""), self.labels["experiment_id"])

    def __str__(self) -> str:
        return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(self.labels.items()) if value) + "}"


def read_listing(body: bytes) -> list[HeldGroup]:
    """Every group. Raises ValueError, TypeError, LookupError or AttributeError for anything but a listing."""
    return [_group(group) for group in orjson.loads(body)["data"]]


def _group(group: Mapping[str, Any]) -> HeldGroup:
    types = {
        name: str(family["type"]).lower()
        for name, family in group.items()
        if isinstance(family, Mapping) and "type" in family
    }
    labels: Mapping[str, str] = group["labels"]
    at = group.get("push_time_seconds")
    return HeldGroup(labels, float(at["metrics"][0]["value"]) if at else 0.0, types)


class Types:
    """Which types the families of some groups have, and whose they are."""

    def __init__(self, groups: Iterable[HeldGroup]) -> None:
        self._known: dict[str, tuple[str, HeldGroup]] = {}
        self._parts: dict[str, tuple[str, str, HeldGroup]] = {}
        for group in groups:
            for name, kind in group.types.items():
                self._known.setdefault(name, (kind, group))
                for suffix in _SUFFIXES.get(kind, ()):
                    self._parts.setdefault(name + suffix, (name, kind, group))

    def conflict(self, family: Family) -> str | None:
        """Why ``family`` cannot be beside these; None when it can."""
        here = f"and {family.type} here"
        known = self._known.get(family.name)
        if known is not None and known[0] != family.type:
            return f"{family.name} is of type {known[0]} in the group {known[1]}, {here}"
        part = self._parts.get(family.name)
        if part is not None and part[0] != family.name:
            return f"{family.name} is part of the {part[1]} {part[0]} in the group {part[2]}, {here}"
        for suffix in _SUFFIXES.get(family.type, ()):
            if other := self._known.get(family.name + suffix):
                return f"{family.name}{suffix} is of type {other[0]} in the group {other[1]}, {here} a part of another"
        return None
