"""Rows of input data, put aside by requests and turned into columns some hundred at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from mlflow_monitoring_tracking.features.statistics import FeatureStatistics

#: Rows that are put aside before they are looked at.
_ROWS = 256
#: What the prediction itself is called among the features.
PREDICTION = "prediction"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which features are looked at, and how.

    :param names: the only ones; None for all.
    :param most: how many, of those that come first.
    :param plain: text is kept as it is, and not hashed.
    """

    names: frozenset[str] | None = None
    most: int = 50
    plain: bool = False


class Observations:
    """Of one deployment in one process. Not safe for threads: the caller holds a lock."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self.forget()

    def forget(self) -> None:
        """Begin with nothing."""
        self._rows: list[Any] = []
        self._predictions: list[Any] = []
        self._shape: Callable[[list[Any]], Mapping[str, list[Any]]] | None = None
        self._kind: object = None
        self.features: dict[str, FeatureStatistics] = {}

    def add(self, row: Any, prediction: Any) -> None:
        """One prediction. The row may change afterwards: it is copied."""
        kind = type(row)
        if kind is not self._kind:
            self._turn(row)
        self._rows.append(list(row) if kind is tuple else row.copy())
        self._predictions.append(prediction)
        if len(self._rows) >= _ROWS:
            self.look()

    def look(self) -> None:
        """Turn what was put aside into statistics."""
        rows, predictions, columns = self._rows, self._predictions, self._shape
        self._rows, self._predictions = [], []
        if columns is None or not rows:
            return
        for name, values in columns(rows).items():
            self._update(name, values)
        if any(prediction is not None for prediction in predictions):
            self._update(PREDICTION, predictions)

    def take(self) -> dict[str, FeatureStatistics]:
        """What was seen since the last call."""
        self.look()
        found, self.features = self.features, {}
        return found

    def _update(self, name: str, values: list[Any]) -> None:
        known = self.features.get(name)
        if known is None:
            if name != PREDICTION and not self._is_wanted(name):
                return
            known = self.features[name] = FeatureStatistics()
        known.update(values, plain=self._chosen.plain)

    def _is_wanted(self, name: str) -> bool:
        names, features = self._chosen.names, len(self.features) - (PREDICTION in self.features)
        return features < self._chosen.most and (names is None or name in names)

    def _turn(self, row: Any) -> None:
        """Rows of another kind come: those before are looked at first.

        :raises TypeError: it is no row.
        """
        self.look()
        self._shape, self._kind = _shape_of(row), type(row)


def _shape_of(row: Any) -> Callable[[list[Any]], Mapping[str, list[Any]]]:
    """How columns are made of rows of this kind: dicts, lists, and rows or tables of numpy and of pandas."""
    if isinstance(row, dict):
        return _of_dicts
    if isinstance(row, (list, tuple)):
        return _of_lists
    if hasattr(row, "to_dict"):
        records = ("records",) if hasattr(row, "columns") else ()
        return lambda rows: _of_dicts(_flat(one.to_dict(*records) for one in rows))
    if hasattr(row, "tolist"):
        return lambda rows: _of_lists(_flat(one.tolist() if one.ndim > 1 else [one.tolist()] for one in rows))
    raise TypeError(f"input_data is a {type(row).__name__}; a dict, a list, or a row of numpy or pandas is needed")


def _flat(many: Iterable[Any]) -> list[Any]:
    """A table is several rows, a row is one."""
    return [row for rows in many for row in (rows if isinstance(rows, list) else [rows])]


def _of_dicts(rows: list[dict[Any, Any]]) -> dict[str, list[Any]]:
    """A column for each key of any row; a key that a row does not have is missing there."""
    first = rows[0].keys()
    if any(row.keys() != first for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return {str(name): [row.get(name) for row in rows] for name in names}
    return {str(name): [row[name] for row in rows] for name in first}


def _of_lists(rows: list[list[Any]]) -> dict[str, list[Any]]:
    """A column for each place, ``f0``, ``f1``, ...; a row that is shorter has no value there."""
    columns = zip_longest(*(row if isinstance(row, list) else [row] for row in rows))
    return {f"f{place}": list(column) for place, column in enumerate(columns)}
