"""MLflow's records as our values: from JSON, and from rows of its database.

A record that breaks MLflow's own rules raises MalformedError, whose text says which rule; the
readers skip that record, tell OnSkipped, and go on with the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mlflow_monitoring_exporter.errors import SourceResponseError
from mlflow_monitoring_exporter.model import (
    MLFLOW_INFINITY,
    Experiment,
    ModelVersion,
    Point,
    Run,
    RunStatus,
    decode_value,
    tells_direction,
)

#: Told of everything that was skipped: which item, and why.
OnSkipped = Callable[[str, str], None]

#: Not stages: MLflow's words for "no stage" and for a deleted version.
NO_STAGE = frozenset({"", "None", "Deleted_Internal"})

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_INT64_MAX = 2**63 - 1
_RUN_NAME_TAG = "mlflow.runName"


class MalformedError(SourceResponseError):
    """A record is not what MLflow writes."""


def ignore_skipped(item: str, reason: str) -> None:
    """The default OnSkipped."""


def text(value: Any, what: str) -> str:
    """A string; raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError(f"{what} is not text")
    return value


def integer(value: Any, what: str) -> int:
    """An int64; JSON may carry it as a number or, as protobuf does, as text. Raises MalformedError."""
    if type(value) is not int and (
        (isinstance(value, str) and _INTEGER.fullmatch(value)) or (isinstance(value, float) and value.is_integer())
    ):
        value = int(value)
    if type(value) is not int or not -_INT64_MAX - 1 <= value <= _INT64_MAX:
        raise MalformedError(f"{what} is not a 64-bit integer")
    return value


def number(value: Any, what: str) -> float:
    """A metric value; JSON spells the non-finite ones ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.

    Raises MalformedError.
    """
    if not isinstance(value, float):
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise MalformedError(f"{what} is not a number")
        try:
            value = float(value)
        except (ValueError, OverflowError):
            raise MalformedError(f"{what} is not a number") from None
    return decode_value(value)


def point(record: Any) -> Point:
    """A metric of runs/search or get-history; raises MalformedError."""
    fields = _mapping(record, "a metric")
    return _point(fields.get("key"), fields.get("step", 0), fields.get("timestamp"), fields.get("value"))


def stored_point(key: Any, step: Any, timestamp: Any, value: Any, is_nan: Any) -> Point:
    """A row of ``metrics`` or ``latest_metrics``, where NaN is a zero with ``is_nan`` set; raises MalformedError."""
    usual = type(value) is float and type(step) is int and type(timestamp) is int and type(key) is str
    if usual and not is_nan and -MLFLOW_INFINITY < value < MLFLOW_INFINITY:
        return Point(key, step, timestamp, value)  # nearly every row; the database bounds its integers itself
    return _point(key, step, timestamp, math.nan if is_nan else value)


def _point(key: Any, step: Any, timestamp: Any, value: Any) -> Point:
    try:
        return Point(
            text(key, "its key"),
            integer(step, "its step"),
            integer(timestamp, "its timestamp"),
            number(value, "its value"),
        )
    except MalformedError as error:
        raise MalformedError(f"metric {key!r}: {error}") from None


def experiment(record: Any) -> Experiment:
    """An experiment of experiments/search; raises MalformedError."""
    fields = _mapping(record, "an experiment")
    tags = fields.get("tags", [])  # one that is malformed is no reason to lose an experiment
    pairs = (
        [(tag.get("key"), tag.get("value")) for tag in tags if isinstance(tag, Mapping)]
        if isinstance(tags, list)
        else []
    )
    return Experiment(
        text(fields.get("experiment_id"), "experiment_id"),
        text(fields.get("name"), "its name"),
        {
            name: value
            for name, value in pairs
            if isinstance(name, str) and isinstance(value, str) and tells_direction(name)
        },
    )


def run(record: Any, params: frozenset[str] = frozenset()) -> Run:
    """A run of runs/search, with those of ``params`` that it has; raises MalformedError."""
    fields = _mapping(record, "a run")
    info = _mapping(fields.get("info"), "info")
    data = _mapping(fields.get("data", {}), "data")
    wanted = _pairs(data.get("params", []), "params") if params else {}
    return build_run(
        run_id=info.get("run_id"),
        experiment_id=info.get("experiment_id"),
        name=info.get("run_name"),
        status=info.get("status"),
        start=info.get("start_time"),
        end=info.get("end_time"),
        tags=_pairs(data.get("tags", []), "tags"),
        latest=tuple(point(metric) for metric in _items(data.get("metrics", []), "metrics")),
        params={name: value for name, value in wanted.items() if name in params},
    )


def aliases(record: Any) -> Sequence[tuple[str, str, str]]:
    """``(model, version, alias)`` for each alias of a model of registered-models/search; raises MalformedError."""
    fields = _mapping(record, "a model")
    name = text(fields.get("name"), "a model's name")
    return [
        (name, str(alias.get("version")), text(alias.get("alias"), "an alias"))
        for alias in (_mapping(alias, "an alias") for alias in _items(fields.get("aliases", []), "aliases"))
    ]


def model_version(record: Any, aliases: Mapping[tuple[str, str], Sequence[str]]) -> ModelVersion:
    """A model version of model-versions/search; raises MalformedError.

    It does not name its ``aliases``, by model and version, which only registered-models/search does.
    """
    fields = _mapping(record, "a model version")
    return build_model_version(
        fields.get("name"), fields.get("version"), fields.get("run_id", ""), fields.get("current_stage", ""), aliases
    )


def build_model_version(
    name: Any, version: Any, run_id: Any, stage: Any, aliases: Mapping[tuple[str, str], Sequence[str]]
) -> ModelVersion:
    """A model version from the fields that MLflow stores; raises MalformedError."""
    name = text(name, "a model's name")
    stage = text(stage or "", "current_stage")
    return ModelVersion(
        name,
        integer(version, "its version"),
        text(run_id or "", "run_id"),
        "" if stage in NO_STAGE else stage,
        tuple(sorted(aliases.get((name, str(version)), ()))),
    )


def by_version(aliases: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], list[str]]:
    """The aliases of each ``(model, version)``."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, version, alias in aliases:
        found.setdefault((name, version), []).append(alias)
    return found


def build_run(
    *,
    run_id: Any,
    experiment_id: Any,
    name: Any,
    status: Any,
    start: Any,
    end: Any,
    tags: Mapping[str, str],
    latest: tuple[Point, ...],
    params: Mapping[str, str],
) -> Run:
    """A run from the fields that MLflow stores, by MLflow's own rules; raises MalformedError.

    A run without a name is called what its tag says, and an end time of zero means none.
    """
    try:
        known_status = RunStatus(status)
    except ValueError:
        raise MalformedError("its status is not one of MLflow's") from None
    return Run(
        run_id=text(run_id, "run_id"),
        experiment_id=text(experiment_id, "experiment_id"),
        name=text(name or tags.get(_RUN_NAME_TAG, ""), "its name"),
        status=known_status,
        start_ms=None if start is None else integer(start, "its start time"),
        end_ms=None if end is None else integer(end, "its end time") or None,
        tags=tags,
        latest=tuple(sorted(latest)),  # by key, of which each run has every one once
        params=params,
    )


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not an object")
    return value


def _pairs(value: Any, what: str) -> dict[str, str]:
    """MLflow's lists of ``{key, value}``."""
    return {
        text(item.get("key"), f"a key of {what}"): text(item.get("value", ""), f"a value of {what}")
        for item in (_mapping(item, f"one of {what}") for item in _items(value, what))
    }


def _items(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedError(f"{what} is not a list")
    return value
