"""JSON whose text holds placeholders, as ``{"metric": "mlflow.$name", "value": "$value"}``.

A text that is one placeholder becomes its value, with the value's type; a placeholder within a longer text becomes
text. A key whose value is a placeholder that has none this time is left out. ``$$`` is a dollar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

import orjson

from mlflow_monitoring_exporter.config.fields import repeated

T = TypeVar("T")
Field = Callable[[T], Any]
"""What a placeholder stands for."""

_PLACEHOLDER = re.compile(r"\$(\$|[a-z_]+)")


class Absent:
    """The value of a placeholder that has none this time."""


ABSENT = Absent()


class Template(Generic[T]):
    """One template, ready to be filled in many times. Raises ValueError for a placeholder that does not exist."""

    def __init__(self, tree: Any, fields: Mapping[str, Field[T]]) -> None:
        self._fields = fields
        #: The placeholders that occur.
        self.used: set[str] = set()
        self.fill: Callable[[T], Any] = self._compile(tree)

    def _compile(self, tree: Any) -> Callable[[T], Any]:
        if isinstance(tree, str):
            return self._text(tree)
        if isinstance(tree, Mapping):
            return self._mapping(tree)
        if isinstance(tree, list | tuple):
            parts = [self._compile(part) for part in tree]
            return lambda of: [value for part in parts if (value := part(of)) is not ABSENT]
        if tree is None or isinstance(tree, bool | int | float):
            return lambda _: tree
        raise ValueError(f"a {type(tree).__name__} is nothing that JSON can hold; put it in quotes")

    def _mapping(self, tree: Mapping[str, Any]) -> Callable[[T], Any]:
        parts = [(str(key), self._compile(value)) for key, value in tree.items()]
        return lambda of: {key: value for key, part in parts if (value := part(of)) is not ABSENT}

    def _text(self, text: str) -> Callable[[T], Any]:
        if (whole := _PLACEHOLDER.fullmatch(text)) and whole[1] != "$":
            return self._field(whole[1])
        # Literal text and placeholders take turns.
        pieces = _PLACEHOLDER.split(text)
        literals = pieces[::2]
        fields: list[Callable[[T], Any]] = [
            (lambda _: "$") if name == "$" else self._field(name) for name in pieces[1::2]
        ]
        if not fields:
            return lambda _: text
        return lambda of: (
            literals[0]
            + "".join(_as_text(field(of)) + literal for field, literal in zip(fields, literals[1:], strict=True))
        )

    def _field(self, name: str) -> Field[T]:
        if name not in self._fields:
            known = ", ".join(f"${known}" for known in sorted(self._fields))
            # Not the second half of a password.
            said = f"${name}" if repeated(name) or get_close_matches(name, self._fields, 1) else "a name behind $"
            raise ValueError(f"{said} is no placeholder; known are {known} ($$ is a dollar)")
        self.used.add(name)
        return self._fields[name]


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value is ABSENT:
        return ""
    return orjson.dumps(value).decode()
