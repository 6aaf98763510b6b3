"""Samples as JSON records, many at a time.

A record of a run differs from the next one in little: name, value, times and step. So of each run of a batch a template
is filled in once, with marks where those belong, and cut at the marks; what is left to do for a sample is to put its
own values between the pieces. That gives, byte for byte, what filling in the template for each sample would.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

import orjson

from mlflow_monitoring_exporter.core.sample_columns import SampleColumns, columns_of
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.exporters.record import SAMPLE_FIELDS, iso_utcs
from mlflow_monitoring_exporter.exporters.template import ABSENT, Field, Template

#: No text holds this by accident, or on purpose: it is another one in every process.
_TOKEN = secrets.token_hex(16)
#: A mark is a text of JSON. As a value it stands for one; in a longer text, where its quotes are escaped, for a part.
_MARK = re.compile(rf'\\"{_TOKEN}-([a-z_]+)-\\"|"{_TOKEN}-([a-z_]+)-"'.encode())

Column = Callable[[SampleColumns], Sequence[bytes]]


def _numbers(values: Sequence[float]) -> list[bytes]:
    return orjson.dumps(values)[1:-1].split(b",") if values else []


def _times(columns: SampleColumns) -> list[bytes]:
    return [b'"%b"' % text.encode() for text in iso_utcs(columns.timestamps_ms)]


def _names(columns: SampleColumns) -> list[bytes]:
    known = {key: orjson.dumps(key) for key in dict.fromkeys(columns.keys)}
    return [known[key] for key in columns.keys]


#: What differs from sample to sample, as JSON.
_COLUMNS: Mapping[str, Column] = {
    "name": _names,
    "value": lambda columns: _numbers(columns.values),
    "timestamp": _times,
    "timestamp_ms": lambda columns: _numbers(columns.timestamps_ms),
    "timestamp_s": lambda columns: _numbers([time // 1000 for time in columns.timestamps_ms]),
    "step": lambda columns: _numbers(columns.steps),
}


def _marked(name: str) -> Field[Sample]:
    mark = orjson.Fragment(f'"{_TOKEN}-{name}-"')
    return lambda _: mark


_MARKED = {
    **SAMPLE_FIELDS,
    **{name: _marked(name) for name in _COLUMNS},
    "nonfinite": lambda _: ABSENT,
}


class RecordLines:
    """One template of records. Raises ValueError for one that cannot be."""

    def __init__(self, tree: Any) -> None:
        self._fill = Template(tree, SAMPLE_FIELDS).fill
        self._marked = Template(tree, _MARKED).fill

    def of(self, samples: Sequence[Sample]) -> list[bytes]:
        """The record of each of these, without line ends."""
        if not samples:
            return []
        columns = columns_of(samples)
        patterns: dict[int, bytes] = {}
        places: list[tuple[str, bool]] = []
        for run in columns.runs:
            if id(run) not in patterns:
                patterns[id(run)], places = self._pattern(run)
        made = {name: _COLUMNS[name](columns) for name, _ in places}
        parts = [made[name] if whole else [_inside(text) for text in made[name]] for name, whole in places]
        values = zip(*parts, strict=True) if parts else repeat((), len(columns))
        lines = [patterns[id(run)] % given for run, given in zip(columns.runs, values, strict=True)]
        for place, value in enumerate(columns.values):
            if not math.isfinite(value):  # it is named in another field
                lines[place] = orjson.dumps(self._fill(columns[place]))
        return lines

    def _pattern(self, run: RunContext) -> tuple[bytes, list[tuple[str, bool]]]:
        """What all records of a run have in common, to be filled in with ``%``; and by what, each whole or as text."""
        filled = orjson.dumps(self._marked(Sample(run, "", 0, 0, 0.0)))
        names: list[tuple[str, bool]] = []
        pieces = []
        end = 0
        for mark in _MARK.finditer(filled):
            pieces.append(filled[end : mark.start()].replace(b"%", b"%%"))
            end = mark.end()
            names.append(((mark[1] or mark[2]).decode(), mark[1] is None))
        pieces.append(filled[end:].replace(b"%", b"%%"))
        return b"%b".join(pieces), names


def _inside(value: bytes) -> bytes:
    """JSON's text of a value within a longer text."""
    return value[1:-1] if value.startswith(b'"') else value
