"""All questions in one place: open a tracking server, ask, close it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

from mlflow_monitoring_exporter.analysis.compare import Comparison, compare_runs
from mlflow_monitoring_exporter.analysis.curves import Curve, Curves
from mlflow_monitoring_exporter.analysis.importance import Importance, Method, param_importance
from mlflow_monitoring_exporter.analysis.periods import Every, History, history_of
from mlflow_monitoring_exporter.analysis.ranking import Ranking, choose_ranking, values_of
from mlflow_monitoring_exporter.analysis.recommend import called
from mlflow_monitoring_exporter.analysis.resources import resource_keys
from mlflow_monitoring_exporter.analysis.shown import table
from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions, hints_of
from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.questions.lint import RUNS, LintReport, lint_newest
from mlflow_monitoring_exporter.questions.select_run import select_run
from mlflow_monitoring_exporter.questions.which import EVERYTHING, Which, nearest
from mlflow_monitoring_exporter.source.decode import OnSkipped, ignore_skipped
from mlflow_monitoring_exporter.source.open import open_run_reader
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.search import WHOLE, FoundExperiment, Order, Parts, RunReader, Search
from mlflow_monitoring_exporter.source.search_filter import LARGEST, quoted

#: Runs that are laid side by side unless more are asked for.
SIDE_BY_SIDE = 50
#: Runs among which a metric is chosen where none is named, and runs that importance looks at.
_NEWEST, _MOST_RUNS = 100, 10_000


@dataclass(frozen=True, slots=True)
class BestRuns:
    """The best runs by ``ranking``, best first; ``experiments`` are names by id."""

    ranking: Ranking
    runs: tuple[Run, ...]
    experiments: Mapping[str, str]

    def _repr_html_(self) -> str:
        metric = self.ranking.metric
        keys = sorted({key for run in self.runs for key in run.params})
        return table(
            {metric: values_of(run).get(metric), "run": called(run), **{key: run.params.get(key) for key in keys}}
            for run in self.runs
        )


class Questions:
    """Questions to one tracking server; a context manager. Every answer may raise SourceError and QuestionError.

    ``direction`` says of patterns of keys which values are better (``min`` or ``max``), as the configuration does.
    """

    def __init__(self, reader: RunReader, *, direction: Mapping[str, str] | None = None) -> None:
        self.reader = reader
        self._directions = Directions(direction or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.reader.close()

    @cached_property
    def known(self) -> Sequence[FoundExperiment]:
        """All experiments, read once; perhaps without numbers of runs."""
        return self.reader.experiments(counted=False)

    def experiments(self, which: Which = EVERYTHING) -> list[FoundExperiment]:
        """Those that are meant, the newest activity first (:attr:`FoundExperiment.active_ms`)."""
        return sorted(which.of(self.reader.experiments()), key=lambda e: (-(e.active_ms or 0), e.name))

    def run(self, asked: str, which: Which = EVERYTHING) -> Run:
        """The run that ``asked`` means (:mod:`~.select_run`)."""
        ids = self._ids(which)
        return select_run(asked, self.reader, ids, lambda metric: self.best_runs(metric, which=which, top_k=1).runs[0])

    def best_runs(
        self,
        metric: str,
        *,
        mode: Direction | None = None,
        top_k: int = 10,
        which: Which = EVERYTHING,
        parts: Parts = WHOLE,
    ) -> BestRuns:
        """The ``top_k`` runs with the best finite latest value of ``metric``; raises QuestionError if none has one."""
        experiments = which.of(self.known)
        directions = self.directions(experiments)
        ids = [experiment.experiment_id for experiment in experiments]
        ranking = choose_ranking((), verdict_of=directions.verdict, metric=metric, mode=mode)
        order = Order(metric, descending=ranking is None or ranking.direction is Direction.MAX)
        runs = tuple(self.reader.runs(Search(ids, which.condition(), order, top_k), parts))
        if not runs:
            self._refuse_unknown(metric, ids)
            raise QuestionError(f"no run that is asked about has a finite value of {metric}")
        if ranking is None:
            raise _undirected(metric)
        return BestRuns(ranking, runs, self.names)

    def runs(self, which: Which = EVERYTHING, *, limit: int | None = None, parts: Parts = WHOLE) -> list[Run]:
        """Those that are meant, newest first."""
        return list(self.reader.runs(Search(self._ids(which), which.condition(), limit=limit), parts))

    def compare(
        self,
        asked: Sequence[str] = (),
        *,
        which: Which = EVERYTHING,
        metrics: Sequence[str] = (),
        mode: Direction | None = None,
        baseline: str | None = None,
        group_tag: str | None = None,
        limit: int = SIDE_BY_SIDE,
    ) -> Comparison:
        """Runs side by side: those that are named in ``asked``, or else those that ``which`` means.

        Of these at most ``limit``: the best by ``metrics[0]`` if there is one, the newest otherwise.
        """
        if asked:
            runs = [self.run(each, which) for each in asked]
        elif metrics:
            runs = list(self.best_runs(metrics[0], mode=mode, top_k=limit, which=which).runs)
        else:
            runs = self.runs(which, limit=limit)
        if not runs:
            raise QuestionError("no run is meant by that")
        base = self.run(baseline, which) if baseline is not None else runs[0]
        runs = list({run.run_id: run for run in (*runs, base)}.values())
        ids = {run.experiment_id for run in runs}
        directions = self.directions(self.of_ids(ids))
        ranking = choose_ranking(
            runs,
            verdict_of=directions.verdict,
            metric=metrics[0] if metrics else None,
            mode=mode,
            told=directions.told(),
        )
        if metrics and ranking is None:
            raise _undirected(metrics[0])
        return compare_runs(
            runs,
            curves=self.curves(runs, [ranking.metric] if ranking else [], resources=True),
            verdict_of=directions.verdict,
            metrics=metrics,
            ranking=ranking,
            baseline=base.run_id,
            group_tag=group_tag,
            experiments=self.names,
        )

    def history(
        self,
        metric: str | None = None,
        *,
        every: Every = Every.DAY,
        mode: Direction | None = None,
        which: Which = EVERYTHING,
    ) -> History:
        """How the runs went over time; without ``metric`` by one that most of the newest have, if any."""
        experiments = which.of(self.known)
        directions = self.directions(experiments)
        ids = [experiment.experiment_id for experiment in experiments]
        search = Search(ids, which.condition())
        newest = [] if metric else list(self.reader.runs(Search(ids, which.condition(), limit=_NEWEST)))
        ranking = choose_ranking(
            newest, verdict_of=directions.verdict, metric=metric, mode=mode, told=directions.told()
        )
        if metric and ranking is None:
            raise _undirected(metric)
        found = history_of(self.reader.values(search, ranking.metric if ranking else ""), every, ranking)
        if metric and not any(period.best is not None for period in found.periods):
            self._refuse_unknown(metric, ids)
        return found

    def importance(
        self,
        metric: str,
        *,
        method: Method = Method.TOTAL,
        mode: Direction | None = None,
        which: Which = EVERYTHING,
    ) -> Importance:
        """Which parameters ``metric`` depends on, among the newest runs that have it."""
        experiments = which.of(self.known)
        verdict_of = self.directions(experiments).verdict
        # Which way is better counts for one of the methods only.
        assumed = None if method is Method.PED_ANOVA else Direction.MAX
        ranking = choose_ranking((), verdict_of=verdict_of, metric=metric, mode=mode or assumed)
        if ranking is None:
            raise _undirected(metric)
        ids = [experiment.experiment_id for experiment in experiments]
        parts = Parts(metrics=frozenset({metric}), tags=frozenset())
        has_it = f"metrics.{quoted(metric)} <= {LARGEST}"  # as every value is but NaN
        condition = " AND ".join(filter(None, (which.condition(), has_it)))
        runs = list(self.reader.runs(Search(ids, condition, limit=_MOST_RUNS), parts))
        if not runs:
            self._refuse_unknown(metric, ids)
        return param_importance(runs, ranking, method=method)

    def lint(
        self,
        *,
        which: Which = EVERYTHING,
        select: Iterable[str] = (),
        ignore: Iterable[str] = (),
        limit: int = RUNS,
        now_ms: int,
    ) -> LintReport:
        """Bad habits of the newest runs (:mod:`~mlflow_monitoring_exporter.analysis.lint`).

        Raises ValueError for a rule that there is not.
        """
        return lint_newest(
            self.reader,
            which.of(self.known),
            which.condition(),
            now_ms=now_ms,
            select=select,
            ignore=ignore,
            limit=limit,
        )

    def curves(self, runs: Iterable[Run], keys: Sequence[str], *, resources: bool = False) -> Curves:
        """All points of these metrics of these runs, and with ``resources`` of what says what a run cost."""
        found: dict[tuple[str, str], Curve] = {}
        for chunk in self.reader.histories(_wanted(runs, frozenset(keys), resources=resources)):
            found.setdefault((chunk.run_id, chunk.key), Curve()).add(chunk.points)
        return found

    def of_ids(self, experiment_ids: Iterable[str]) -> list[FoundExperiment]:
        """The experiments with these ids."""
        wanted = frozenset(experiment_ids)
        return [experiment for experiment in self.known if experiment.experiment_id in wanted]

    @property
    def names(self) -> dict[str, str]:
        """The names of all experiments by their ids."""
        return {experiment.experiment_id: experiment.name for experiment in self.known}

    def directions(self, experiments: Iterable[FoundExperiment]) -> Directions:
        """Which values are better in all of these experiments; what their tags say differently, they do not say."""
        said: dict[str, set[bool]] = {}
        for experiment in experiments:
            for key, rises in hints_of(experiment.tags).items():
                said.setdefault(key, set()).add(rises)
        return self._directions.within({key: min(rises) for key, rises in said.items() if len(rises) == 1})

    def _refuse_unknown(self, metric: str, experiment_ids: Sequence[str]) -> None:
        """Raises QuestionError with the nearest names if no run has it."""
        keys = self.reader.keys(experiment_ids)
        if metric not in keys:
            raise QuestionError(f"no run has a metric {metric}{nearest(metric, keys)}")

    def _ids(self, which: Which) -> list[str]:
        return [experiment.experiment_id for experiment in which.of(self.known)]


def ask(
    tracking_uri: str,
    *,
    config: MlflowConfig | None = None,
    direction: Mapping[str, str] | None = None,
    concurrency: int = 4,
    stop: threading.Event | None = None,
    on_skipped: OnSkipped = ignore_skipped,
) -> Questions:
    """Questions to MLflow at ``http(s)://...``, or to its database at ``sqlite:///...`` and the like.

    ``config`` has more of a server than its address: credentials, certificates, a workspace. Nothing is read, and
    nothing can fail, before the first question.
    """
    server = config or MlflowConfig(tracking_uri=tracking_uri)
    reader = open_run_reader(server, stop=stop or threading.Event(), concurrency=concurrency, on_skipped=on_skipped)
    return Questions(reader, direction=direction)


def _undirected(metric: str) -> QuestionError:
    return QuestionError(f"nothing tells whether more of {metric} is better: say so with --mode max or --mode min")


def _wanted(runs: Iterable[Run], keys: frozenset[str], *, resources: bool) -> Iterable[Wanted]:
    for run in runs:
        also = frozenset(resource_keys(run)) if resources else frozenset()
        for point in run.latest:
            if point.key in keys or point.key in also:
                yield Wanted(run.run_id, point.key, None, point.step)
