"""How an experiment stands: what its newest runs say together."""

from __future__ import annotations

from dataclasses import replace

from mlflow_monitoring_exporter.analysis.importance import param_importance
from mlflow_monitoring_exporter.analysis.standing import Standing, standing_of
from mlflow_monitoring_exporter.core.errors import MissingExtraError, QuestionError
from mlflow_monitoring_exporter.questions.ask import Questions
from mlflow_monitoring_exporter.source.search import FoundExperiment, Parts, Search


def experiment_standing(
    questions: Questions, experiment: FoundExperiment, *, runs: int, importance: bool
) -> Standing | None:
    """Of the ``runs`` newest ones that finished; None where they say nothing. Raises SourceError.

    With ``importance`` also which parameters the metric depends on, where enough runs tell, and the extra is there.
    """
    search = Search([experiment.experiment_id], "attributes.status = 'FINISHED'", limit=runs)
    found = list(questions.reader.runs(search, Parts(tags=frozenset())))
    directions = questions.directions([experiment])
    standing = standing_of(found, verdict_of=directions.verdict, told=directions.told())
    if standing is None or not importance:
        return standing
    try:
        found = [run for run in found if any(point.key == standing.ranking.metric for point in run.latest)]
        told = param_importance(found, standing.ranking)
    except (MissingExtraError, QuestionError):
        return standing
    return replace(standing, importance={param.key: param.importance for param in told.params})
