"""Where does a value come from, and which one wins?

A :class:`Layer` is a tree of raw values together with the place that each was written at, so that
a problem can be reported as ``config.yaml:12: export.interval: ...``. Layers are stacked lowest
first: defaults, YAML, environment, flags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mlflow_monitoring_exporter.core.disclosure import shown_key
from mlflow_monitoring_exporter.core.errors import ConfigProblem

Path = tuple[str, ...]
"""A key in the tree: ``("export", "interval")``."""


#: What is below a key of such a name may hold a secret in its own keys: ``token: {s3cret}`` is a mapping.
_SECRET = re.compile(r"(?i)(.*[_-])?(password|passwd|secret|token|api[_-]?key|headers|authorization)")
#: Characters of a key that can have such a name; a longer one may be a secret itself.
_LONGEST_NAME = 64
#: Levels of a key; variables and flags may be nested arbitrarily deep.
DEEPEST = 20


def has_secrets(path: Path) -> bool:
    """Whether what stands at ``path`` or below may be secret."""
    return any(map(_holds_secrets, path))


@lru_cache(4096)
def _holds_secrets(part: str) -> bool:
    return len(part) > _LONGEST_NAME or _SECRET.fullmatch(part) is not None


def spoken(path: Path) -> str:
    """A key for people, without what may be part of a secret."""
    said: list[str] = []
    for part in path:
        # Dots are no ends of keys in a file: one such key is one name.
        said.append(shown_key(part))
        if _holds_secrets(part):
            break
    return ".".join(said)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written, and how its key is spelled there (``PROMETHEUS_GATEWAY``)."""

    where: str
    key: str


@dataclass(slots=True)
class Layer:
    """Raw values and their places; mutable only while configuration is being loaded.

    ``blocks`` are the places that brought blocks into being which are written nowhere themselves.
    ``refused`` are the paths of which something was said already, so that their values are not judged.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    refused: set[Path] = field(default_factory=set)
    blocks: dict[Path, Place] = field(default_factory=dict)

    def set(self, path: Path, value: Any, place: Place) -> None:
        """Put one value; what stood at ``path`` or in its way is replaced."""
        node = self.values
        for end in range(1, len(path)):
            self.blocks.setdefault(path[:end], place)
        for part in path[:-1]:
            child = node.get(part)
            if not isinstance(child, dict):
                child = node[part] = {}
            node = child
        node[path[-1]] = value
        self.places[path] = place

    def get(self, path: Path) -> Any:
        """The value at ``path``; None when there is none."""
        node: Any = self.values
        for part in path:
            if not isinstance(node, dict) or part not in node:
                return None
            node = node[part]
        return node

    def place(self, path: Path) -> Place:
        """The place of ``path``, or of the nearest block around it that has one."""
        if path not in self.places and path in self.blocks:
            return self.blocks[path]
        for end in range(len(path), -1, -1):
            if (found := self.places.get(path[:end])) is not None:
                key = found.key if has_secrets(path[:end]) else ".".join((found.key, spoken(path[end:]))).strip(".")
                return Place(found.where, key)
        return Place("", spoken(path))

    def was_refused(self, path: Path) -> bool:
        """Whether something was said already of ``path``, or of a block around it."""
        return bool(self.refused) and any(path[:end] in self.refused for end in range(len(path) + 1))

    def lay_over(self, upper: Layer) -> None:
        """Let every value of ``upper`` win over ours."""
        _merge(self.values, upper.values)
        self.places.update(upper.places)
        self.blocks.update(upper.blocks)
        self.refused |= upper.refused


def _merge(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    for key, value in upper.items():
        # A secret given in one form replaces the other form from a lower layer.
        twin = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
        if twin not in upper:
            lower.pop(twin, None)
        if key == "client_cert_file" and "client_key_file" not in upper:
            lower.pop("client_key_file", None)  # the key of another certificate
        if isinstance(value, dict) and isinstance(lower.get(key), dict):
            _merge(lower[key], value)
        else:
            lower[key] = value


def problem(layer: Layer, path: Path, message: str) -> ConfigProblem:
    """What is wrong with the value at ``path``, and where it was written."""
    place = layer.place(path)
    return ConfigProblem(place.where, place.key, message)
