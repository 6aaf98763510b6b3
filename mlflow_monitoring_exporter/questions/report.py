"""What goes into a report: a look at everything, and a closer one at the experiments with the newest runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlflow_monitoring_exporter.analysis.attention import runs_to_look_at
from mlflow_monitoring_exporter.analysis.importance import Importance, Method, param_importance
from mlflow_monitoring_exporter.analysis.periods import Every, history_of
from mlflow_monitoring_exporter.analysis.ranking import Ranking, choose_ranking
from mlflow_monitoring_exporter.analysis.reduce import evenly, lttb
from mlflow_monitoring_exporter.analysis.report import ExperimentReport, Report, RunCurve
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.errors import MissingExtraError, QuestionError
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.questions.ask import Questions
from mlflow_monitoring_exporter.questions.which import Which
from mlflow_monitoring_exporter.source.search import FoundExperiment, Order, Search

#: Experiments that are looked at closely, runs that are named, curves that are drawn, and points of each.
EXPERIMENTS, NAMED, CURVES, POINTS = 10, 10, 5, 300
#: The newest runs of an experiment that pictures and importance are made of.
SAMPLE = 1000
_NOTE = "mlflow.note.content"
_DAY_MS = 86_400_000
#: Runs that importance is fitted to, and how often they are drawn anew: of ten experiments nobody waits for more.
_FITTED, _DRAWN = 300, 3
#: A report over more days has weeks, and over more than that months.
_DAYS, _WEEKS = 62, 400


def make_report(
    questions: Questions, which: Which, *, since_ms: int, until_ms: int, metric: str | None = None
) -> Report:
    """A report over the runs that started between two times. Raises SourceError and QuestionError."""
    asked = Which(which.experiments, which.where, which.tags, since_ms, until_ms)
    experiments = {e.experiment_id: e for e in asked.of(questions.known)}
    days = (until_ms - since_ms) / _DAY_MS
    every = Every.DAY if days <= _DAYS else Every.WEEK if days <= _WEEKS else Every.MONTH
    everything = list(questions.reader.values(Search(list(experiments), asked.condition()), ""))
    counts = Counter(value.experiment_id for value in everything)
    latest: dict[str, int] = {}
    for value in everything:
        latest[value.experiment_id] = max(latest.get(value.experiment_id, 0), value.start_ms or 0)
    closest = sorted(latest, key=lambda experiment_id: -latest[experiment_id])[:EXPERIMENTS]
    looked_at = [experiments[experiment_id] for experiment_id in closest if experiment_id in experiments]
    closer = Which(tuple(e.experiment_id for e in looked_at), which.where, which.tags, since_ms, until_ms)
    return Report(
        questions.reader.server,
        since_ms,
        until_ms,
        history_of(everything, every, None),
        {experiments[experiment_id].name: count for experiment_id, count in counts.most_common()},
        [
            _of_experiment(questions, each, asked.condition(), every=every, metric=metric, now_ms=until_ms)
            for each in looked_at
        ],
        questions.lint(which=closer, now_ms=until_ms).findings if looked_at else (),
    )


def _of_experiment(
    questions: Questions, experiment: FoundExperiment, where: str, *, every: Every, metric: str | None, now_ms: int
) -> ExperimentReport:
    reader, ids = questions.reader, [experiment.experiment_id]
    directions = questions.directions([experiment])
    newest = list(reader.runs(Search(ids, where, limit=SAMPLE)))
    ranking = choose_ranking(newest, verdict_of=directions.verdict, metric=metric, told=directions.told())
    best: list[Run] = []
    values = list(reader.values(Search(ids, where), ranking.metric if ranking else ""))
    if ranking is not None:
        order = Order(ranking.metric, descending=ranking.direction is Direction.MAX)
        best = list(reader.runs(Search(ids, where, order, NAMED)))
    importance, why_not = _importance(newest, ranking)
    return ExperimentReport(
        experiment.name,
        experiment.tags.get(_NOTE, ""),
        history_of(values, every, ranking),
        ranking,
        best,
        newest,
        values,
        _curves(questions, best[:CURVES], ranking),
        importance,
        why_not,
        runs_to_look_at(newest, now_ms=now_ms, verdict_of=directions.verdict),
    )


def _curves(questions: Questions, runs: Sequence[Run], ranking: Ranking | None) -> list[RunCurve]:
    if ranking is None:
        return []
    read = questions.curves(runs, [ranking.metric])
    found: list[RunCurve] = []
    for run in runs:
        if (curve := read.get((run.run_id, ranking.metric))) is not None and len(curve) > 1:
            points = [(float(step), value) for step, _, value in curve.ordered() if value - value == 0]
            found.append(RunCurve(run, lttb(points, POINTS), len(curve)))
    return found


def _importance(runs: Sequence[Run], ranking: Ranking | None) -> tuple[Importance | None, str]:
    if ranking is None:
        return None, "no metric has a direction that is known"
    try:
        return param_importance(evenly(runs, _FITTED), ranking, method=Method.TOTAL, resamples=_DRAWN), ""
    except (QuestionError, MissingExtraError) as error:
        return None, str(error)
