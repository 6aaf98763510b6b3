"""MLflow's records as our values: from JSON, and from rows of its database.

A record that breaks MLflow's own rules is left out, and OnSkipped is told; everything else is read. What is
left out is the smallest thing that can be without claiming anything: one tag, one parameter, one alias, one
point; a run's name or one of its times, without which a run may be as well. Where something is missing that
says what a record is (its id, to whom it belongs, its status, its version), all of that record is left out.
Then MalformedError is raised, whose text says which rule it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mlflow_monitoring_exporter.core.values import (
    MLFLOW_INFINITY,
    Experiment,
    ModelVersion,
    Point,
    Run,
    RunStatus,
    tells_direction,
)
from mlflow_monitoring_exporter.source.fields import (
    MalformedError,
    OnSkipped,
    exact,
    identity,
    ignore_skipped,
    integer,
    number,
    shown,
    stored_number,
    text,
)
from mlflow_monitoring_exporter.source.search import FoundExperiment

__all__ = ["MalformedError", "OnSkipped", "ignore_skipped", "integer", "number", "text"]

#: Not stages: MLflow's words for "no stage" and for a deleted version.
NO_STAGE = frozenset({"", "None", "Deleted_Internal"})

_RUN_NAME_TAG = "mlflow.runName"

_T = TypeVar("_T")


def point(record: Any) -> Point:
    """A metric of runs/search or get-history; raises MalformedError."""
    fields = _mapping(record, "a metric")
    return _point(fields.get("key"), fields.get("step", 0), fields.get("timestamp"), fields.get("value"))


def stored_point(key: Any, step: Any, timestamp: Any, value: Any, is_nan: Any) -> Point:
    """A row of ``metrics`` or ``latest_metrics``, where NaN is a zero with ``is_nan`` set; raises MalformedError."""
    usual = type(value) is float and type(step) is int and type(timestamp) is int and type(key) is str
    if usual and is_nan in (0, None) and -MLFLOW_INFINITY < value < MLFLOW_INFINITY and key.isascii():
        return Point(key, step, timestamp, value)  # nearly every row; the database bounds its integers itself
    return _point(key, step, timestamp, value, is_nan)


def _point(key: Any, step: Any, timestamp: Any, value: Any, is_nan: Any = 0) -> Point:
    try:
        return Point(
            exact(key, "its key"),
            integer(step, "its step"),
            integer(timestamp, "its timestamp"),
            stored_number(value, is_nan, "its value"),
        )
    except MalformedError as error:
        raise MalformedError(f"metric '{shown(key)}': {error}") from None


def experiment(record: Any, on_skipped: OnSkipped = ignore_skipped) -> Experiment:
    """An experiment of experiments/search, with those of its tags that say which way metrics get better.

    ``on_skipped`` hears of tags that are malformed. Raises MalformedError.
    """
    found = found_experiment(record, on_skipped)
    telling = {key: value for key, value in found.tags.items() if tells_direction(key)}
    return Experiment(found.experiment_id, found.name, telling)


def found_experiment(record: Any, on_skipped: OnSkipped = ignore_skipped) -> FoundExperiment:
    """An experiment of experiments/search with all of its tags; raises MalformedError."""
    fields = _mapping(record, "an experiment")
    experiment_id = identity(fields.get("experiment_id"), "experiment_id")
    called = text(fields.get("name"), "its name")
    found = _listed(fields.get("tags"), f"tags of experiment {shown(experiment_id)}", on_skipped)
    pairs = dict(readable(_pair, found, f"a tag of experiment {shown(experiment_id)}", on_skipped))
    created = fields.get("creation_time")
    known = isinstance(created, int | str) and not isinstance(created, bool) and created not in (0, "0", "")
    return FoundExperiment(experiment_id, called, pairs, integer(created, "its creation_time") if known else None)


def stored_experiment(experiment_id: Any, called: Any, tags: Mapping[str, Mapping[str, str]]) -> Experiment:
    """A row of ``experiments``, with its ``tags`` by experiment; raises MalformedError."""
    known = str(integer(experiment_id, "experiment_id"))
    return Experiment(known, text(called, "its name"), tags.get(known, {}))


def run(record: Any, params: frozenset[str] | None = frozenset(), on_skipped: OnSkipped = ignore_skipped) -> Run:
    """A run of runs/search, with those of ``params`` that it has, or all (None); raises MalformedError.

    ``on_skipped`` hears of what was left out of it.
    """
    fields = _mapping(record, "a run")
    info = _mapping(fields.get("info"), "info")
    run_id = identity(info.get("run_id"), "run_id")
    data = fields.get("data")
    if not isinstance(data, dict | None):
        on_skipped(f"data of run {shown(run_id)}", "it is not an object")
    data = data if isinstance(data, dict) else {}

    def items(kind: str, read: Callable[[Any], _T]) -> Iterator[_T]:
        found = _listed(data.get(f"{kind}s"), f"{kind}s of run {shown(run_id)}", on_skipped)
        return readable(read, found, f"a {kind} of run {shown(run_id)}", on_skipped)

    return build_run(
        run_id=run_id,
        experiment_id=info.get("experiment_id"),
        name=info.get("run_name"),
        status=info.get("status"),
        start=info.get("start_time"),
        end=info.get("end_time"),
        tags=dict(items("tag", _pair)),
        latest=tuple(items("metric", point)),
        params={}
        if params == frozenset()
        else {k: v for k, v in items("param", _pair) if params is None or k in params},
        on_skipped=on_skipped,
    )


def readable(read: Callable[[Any], _T], records: Iterable[Any], what: str, on_skipped: OnSkipped) -> Iterator[_T]:
    """Each record as ``read`` decodes it; ``on_skipped`` hears of those that are malformed."""
    for record in records:
        try:
            found = read(record)
        except MalformedError as error:
            on_skipped(what, str(error))
        else:
            yield found


def stored_pair(key: Any, value: Any) -> tuple[str, str]:
    """The key and the value of a tag or parameter, which may be empty; raises MalformedError."""
    key = exact(key, "its key")
    try:
        return key, text("" if value is None else value, "its value")
    except MalformedError as error:
        raise MalformedError(f"'{shown(key)}': {error}") from None


def aliases(record: Any, on_skipped: OnSkipped = ignore_skipped) -> Sequence[tuple[str, int, str]]:
    """``(model, version, alias)`` for each alias of a model of registered-models/search; raises MalformedError."""
    fields = _mapping(record, "a model")
    model = identity(fields.get("name"), "a model's name")
    found = _listed(fields.get("aliases"), f"aliases of model {shown(model)}", on_skipped)
    return list(readable(lambda alias: _alias(model, alias), found, f"an alias of model {shown(model)}", on_skipped))


def _alias(model: str, record: Any) -> tuple[str, int, str]:
    fields = _mapping(record, "an alias")
    return stored_alias(model, fields.get("version"), fields.get("alias"))


def stored_alias(model: Any, version: Any, alias: Any) -> tuple[str, int, str]:
    """A row of ``registered_model_aliases``; raises MalformedError."""
    return identity(model, "its model's name"), integer(version, "its version"), identity(alias, "its name")


def model_version(record: Any, aliases: Mapping[tuple[str, int], Sequence[str]]) -> ModelVersion:
    """A model version of model-versions/search; raises MalformedError.

    It does not name its ``aliases``, by model and version, which only registered-models/search does.
    """
    fields = _mapping(record, "a model version")
    return build_model_version(
        fields.get("name"), fields.get("version"), fields.get("run_id"), fields.get("current_stage"), aliases
    )


def build_model_version(
    name: Any, version: Any, run_id: Any, stage: Any, aliases: Mapping[tuple[str, int], Sequence[str]]
) -> ModelVersion:
    """A model version from the fields that MLflow stores; raises MalformedError."""
    name = identity(name, "a model's name")
    version = integer(version, "its version")
    stage = "" if stage is None else text(stage, "current_stage")
    return ModelVersion(
        name,
        version,
        identity(run_id, "run_id") if run_id not in (None, "") else "",
        "" if stage in NO_STAGE else stage,
        tuple(sorted(aliases.get((name, version), ()))),
    )


def by_version(aliases: Iterable[tuple[str, int, str]]) -> dict[tuple[str, int], list[str]]:
    """The aliases of each ``(model, version)``."""
    found: dict[tuple[str, int], list[str]] = {}
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
    on_skipped: OnSkipped = ignore_skipped,
) -> Run:
    """A run from the fields that MLflow stores, by MLflow's own rules; raises MalformedError.

    A run without a name is called what its tag says, and an end time of zero means none. Without a
    readable name, start or end it is a run that has none, of which ``on_skipped`` hears.
    """
    run_id = identity(run_id, "run_id")
    try:
        known_status = RunStatus(status)
    except ValueError:
        raise MalformedError("its status is not one of MLflow's") from None
    experiment_id = identity(experiment_id, "experiment_id")

    return Run(
        run_id=run_id,
        experiment_id=experiment_id,
        name=_fact(text, name, "its name", run_id, on_skipped) or tags.get(_RUN_NAME_TAG, ""),
        status=known_status,
        start_ms=_fact(integer, start, "its start time", run_id, on_skipped),
        end_ms=_fact(integer, end, "its end time", run_id, on_skipped) or None,
        tags=tags,
        latest=_latest(latest, run_id, on_skipped),
        params=params,
    )


def _fact(read: Callable[[Any, str], _T], value: Any, what: str, run_id: str, on_skipped: OnSkipped) -> _T | None:
    try:
        return None if value is None else read(value, what)
    except MalformedError as error:
        on_skipped(f"a fact of run {shown(run_id)}", str(error))
        return None


def _latest(points: Sequence[Point], run_id: str, on_skipped: OnSkipped) -> tuple[Point, ...]:
    """By key, of which each run has every one once; of two with one key MLflow's latest is the largest."""
    keys = [point.key for point in points]
    if "\0" in "".join(keys):
        on_skipped(f"a metric of run {shown(run_id)}", "its key holds a null character")
        points = [point for point in points if "\0" not in point.key]
    ordered = sorted(points)
    if len(set(keys)) < len(keys):
        ordered = list({point.key: point for point in ordered}.values())
    return tuple(ordered)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not an object")
    return value


def _pair(record: Any) -> tuple[str, str]:
    fields = _mapping(record, "it")
    return stored_pair(fields.get("key"), fields.get("value"))


def _listed(value: Any, what: str, on_skipped: OnSkipped) -> Sequence[Any]:
    """A list; protobuf's JSON leaves empty ones out, and takes null for them."""
    if isinstance(value, list | None):
        return value or ()
    on_skipped(what, "they are not a list")
    return ()
