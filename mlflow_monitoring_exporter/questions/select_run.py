"""The run that somebody means.

::

    0f3a9c...           its id, or how it begins
    resnet-18-lr3       its name
    latest              the one that started last
    best:accuracy       the one with the best latest value of a metric
    champion@churn      the one behind an alias, a version or a stage of a registered model: 7@churn, Production@churn
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import ModelVersion, Run
from mlflow_monitoring_exporter.questions.which import literal, nearest
from mlflow_monitoring_exporter.source.search import RunReader, Search

_ID = re.compile(r"[0-9a-f]+")
_WHOLE_ID = 32
#: Runs that are named where a selector means several.
_NAMED = 5

#: The best run by a metric among some experiments.
BestBy = Callable[[str], Run]


def select_run(asked: str, reader: RunReader, experiment_ids: Sequence[str], best_by: BestBy) -> Run:
    """The one run that ``asked`` means; raises QuestionError where that is none or several."""
    if asked == "latest":
        newest = next(reader.runs(Search(experiment_ids, limit=1)), None)
        if newest is None:
            raise QuestionError("there is no run yet")
        return newest
    kind, colon, rest = asked.partition(":")
    if colon and kind == "best" and rest:
        return best_by(rest)
    found = _by_id(asked, reader, experiment_ids) if _ID.fullmatch(asked) else []
    if not found:
        found = list(reader.runs(Search(experiment_ids, f"attributes.run_name = {literal(asked)}", limit=_NAMED + 1)))
    if not found and "@" in asked:
        return _of_model(asked, reader, experiment_ids)
    if not found:
        raise QuestionError(
            f"no run has an id that begins with {asked}, or that name; "
            "a run may also be latest, best:METRIC or ALIAS@MODEL"
        )
    if len(found) > 1:
        ids = ", ".join(run.run_id for run in found[:_NAMED])
        more = " and more" if len(found) > _NAMED else ""
        raise QuestionError(f"{asked} may be several runs: {ids}{more}; say more of the id")
    return found[0]


def _by_id(asked: str, reader: RunReader, experiment_ids: Sequence[str]) -> list[Run]:
    exact = len(asked) >= _WHOLE_ID
    condition = f"attributes.run_id = '{asked}'" if exact else f"attributes.run_id LIKE '{asked}%'"
    return list(reader.runs(Search(experiment_ids, condition, limit=_NAMED + 1)))


def _of_model(asked: str, reader: RunReader, experiment_ids: Sequence[str]) -> Run:
    alias, _, model = asked.rpartition("@")
    versions = reader.registry()
    of_model = [version for version in versions if version.model == model]
    if not of_model:
        raise QuestionError(f"there is no registered model {model}{nearest(model, (v.model for v in versions))}")
    chosen = [v for v in of_model if alias in v.aliases or alias in (str(v.version), f"v{v.version}")]
    chosen = chosen or [v for v in of_model if v.stage.lower() == alias.lower()]
    if not chosen:
        raise QuestionError(f"{model} has no alias, version or stage {alias}{nearest(alias, _words(of_model))}")
    version = max(chosen, key=lambda v: v.version)
    if not version.run_id:
        raise QuestionError(f"version {version.version} of {model} was not made by a run")
    found = _by_id(version.run_id, reader, experiment_ids)
    if not found:
        raise QuestionError(
            f"the run {version.run_id} of version {version.version} of {model} is deleted, "
            "or in none of these experiments"
        )
    return found[0]


def _words(versions: Sequence[ModelVersion]) -> list[str]:
    return [word for v in versions for word in (*v.aliases, str(v.version), *([v.stage] if v.stage else []))]
