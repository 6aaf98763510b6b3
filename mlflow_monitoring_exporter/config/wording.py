"""Validation problems in the terms of YAML, not of Python.

Nothing that was written is repeated, but for a word that is nearly one of ours: a value that came to the wrong place
may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from mlflow_monitoring_exporter.config.environment import PREFIX, variable_of
from mlflow_monitoring_exporter.config.layers import Path, Place
from mlflow_monitoring_exporter.config.schema import Settings
from mlflow_monitoring_exporter.config.suggest import close, meant_key, meant_type

_KINDS = {
    "missing": "is required",
    "string_type": "must be text; put it in quotes",
    "string_unicode": "must be text; put it in quotes",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "dict_type": "must be a mapping (key: value)",
    "mapping_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """For problems of one block: ``model``, which is at ``path``.

    ``top`` are keys at the top level that are not in the model of settings, ``types`` those of exporters.
    """

    model: type[BaseModel]
    path: Path
    top: tuple[str, ...]
    types: tuple[str, ...]

    def say(self, detail: ErrorDetails, loc: Path, place: Place) -> str:
        """What pydantic found at ``loc``, which was written at ``place``."""
        kind = detail["type"]
        if kind == "extra_forbidden":
            return self._unknown_key(loc, place)
        if kind in _KINDS:
            return _KINDS[kind]
        message = detail["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        if kind == "literal_error" and isinstance(detail["input"], str):
            words = re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))
            meant = close(detail["input"].lower(), words)
            return f"{message}; did you mean {meant}?" if meant else message
        return message

    def _unknown_key(self, loc: Path, place: Place) -> str:
        owner = _model_at(self.model, loc[:-1])
        known = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
        if owner is Settings:
            known += self.top
        path = self.path + loc
        found = meant_key(path, known, self.types)
        if found is None:
            return f"unknown key; known are {', '.join(sorted(known))}" if known else "unknown key"
        meant, reason = found
        if place.where and not place.key:
            written = place.where.removeprefix(PREFIX).split("__")
            # Of a variable the whole name, with this part of it mended.
            said = variable_of(meant + tuple(written[len(path) :]) if len(meant) == len(path) else meant)
        else:
            said = meant[-1] if meant[:-1] == path[:-1] else ".".join(meant)
        return f"unknown key; did you mean {said}?{reason}"


def wrong_type(kind: Any, types: Iterable[str], *, missing: bool) -> str:
    """What to say of an exporter's type that is not there; without one, ``kind`` is the exporter's name."""
    meant = meant_type(kind, types) if isinstance(kind, str) else None
    every = ", ".join(sorted(types))
    if missing:
        return f"needs a type, one of {every}" + (f"; did you mean {meant}?" if meant else "")
    if not isinstance(kind, str):
        return f"must be a word, one of {every}"
    if meant is None:
        return f"unknown type; known are {every}"
    return f"unknown type {kind!r}; did you mean {meant}?"


def _model_at(model: type[BaseModel], loc: Path) -> type[BaseModel] | None:
    """The section that a location lies in, so that its keys can be suggested."""
    parts = iter(loc)
    for part in parts:
        field = model.model_fields.get(part)
        if field and get_origin(field.annotation) is Mapping:
            next(parts, None)  # the name that the operator gave
        candidates = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is None:
            return None
        model = inner
    return model
