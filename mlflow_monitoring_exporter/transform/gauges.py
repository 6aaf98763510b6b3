"""From what is known of experiments, runs and models to the gauges that Prometheus sees.

::

    1  of each experiment: its runs by status, which runs it shows, and what becomes of them
    2  of the registry: versions and aliases
    3  aggregates, values under aliases, and metrics of runs

Each experiment, and the registry, has a fair share of ``gauges.max_series``, of which it shows these in their order
(transform/series_budget.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mlflow_monitoring_exporter.config.schema import GaugesConfig, MetricsConfig
from mlflow_monitoring_exporter.core.directions.direction import Directions
from mlflow_monitoring_exporter.core.values import NO_EXPERIMENT, ModelVersion, RunGauges, RunStatus, Snapshot
from mlflow_monitoring_exporter.prometheus import families
from mlflow_monitoring_exporter.prometheus.families import Spec
from mlflow_monitoring_exporter.prometheus.label_lengths import Lengths
from mlflow_monitoring_exporter.prometheus.names import FamilyNames, short_run_ids
from mlflow_monitoring_exporter.transform import model_versions as registry
from mlflow_monitoring_exporter.transform import pipelines, rollouts
from mlflow_monitoring_exporter.transform.aggregates import Aggregate
from mlflow_monitoring_exporter.transform.labels import bounded
from mlflow_monitoring_exporter.transform.lifecycle import duration_ms
from mlflow_monitoring_exporter.transform.series_budget import GroupSeries, KeyedSeries, SeriesBudget

#: The labels of a run's own series, before the operator's wishes.
RUN_LABELS = ("experiment_name", "run_id", "model_stage", "metric")
_Tracked = Callable[[str, str, RunGauges, Sequence[RunGauges]], Iterable[tuple[Spec, tuple[str, ...], float]]]
#: What else is shown of experiments whose names begin so.
_TRACKED: tuple[tuple[str, _Tracked], ...] = (
    (pipelines.PREFIX, pipelines.pipeline_series),
    (rollouts.PREFIX, rollouts.rollout_series),
)


@dataclass(frozen=True, slots=True)
class ExperimentFacts:
    """One experiment as its aggregates show it. ``last_start_ms`` is 0 while no run says when it started.

    ``runs_with`` says how many of its runs have a key.
    """

    name: str
    runs: Mapping[RunStatus, int] = field(default_factory=dict)
    metrics: Iterable[tuple[str, Aggregate]] = ()
    last_start_ms: int = 0
    runs_with: Callable[[str], int] | None = None


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """The registry: its versions, latest values of runs that made them, by run id, and how often aliases changed.

    ``judged_by`` are the directions of the experiments of these runs, by run id, where they are known.
    """

    versions: Sequence[ModelVersion] = ()
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    alias_changes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    judged_by: Mapping[str, Directions] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a snapshot is made of.

    ``experiments`` are by id. ``runs`` are those with series of their own, the most important first;
    each belongs to one of the experiments. ``stalled`` and ``orphaned`` are ids of some of them.
    """

    experiments: Mapping[str, ExperimentFacts]
    runs: Sequence[RunGauges] = ()
    stalled: frozenset[str] = frozenset()
    orphaned: frozenset[str] = frozenset()
    registry: RegistryFacts = RegistryFacts()


class Gauges:
    """Builds snapshots by one configuration."""

    def __init__(self, config: GaugesConfig, metrics: MetricsConfig) -> None:
        self.directions = Directions(metrics.direction)
        self._names = FamilyNames(metrics.rename, generic=config.naming == "generic", longest=config.max_label_length)
        self._shown = Lengths(config.max_label_length)
        self._room = config.max_series
        self._most = config.labels.max_values
        self._added = tuple(config.labels.add)
        self._kept = tuple(at for at, name in enumerate(RUN_LABELS) if name not in config.labels.drop)
        self._drops = len(self._kept) < len(RUN_LABELS)
        self._labels = (*(RUN_LABELS[at] for at in self._kept), *self._added)
        self._info = _with_labels(families.RUN_INFO, self._added)
        self._specs: dict[str, Spec] = {}

    def build(self, facts: Facts, before: Snapshot | None = None) -> Snapshot:
        """All gauges in their groups, one for each experiment and one for the registry.

        Equal facts give equal snapshots. Whatever is equal to its part of ``before`` is that part.
        """
        self._shown.tidy()
        budget = SeriesBudget([*facts.experiments, NO_EXPERIMENT], room=self._room)
        of_registry = {version.run_id for version in registry.noteworthy(facts.registry.versions) if version.run_id}
        short = short_run_ids({run.run_id for run in facts.runs} | of_registry)
        for experiment_id in sorted(facts.experiments):
            self._add_experiment(budget, experiment_id, facts.experiments[experiment_id])
        self._add_registry(budget, facts.registry, short)
        keys: dict[str, set[str]] = {}
        for key in set().union(*(run.values for run in facts.runs)):
            keys.setdefault(self._names[key], set()).add(key)
        shown = self._shown
        added = bounded(facts.runs, self._added, self._most)
        for run in facts.runs:
            group = budget.group(run.experiment_id)
            of_run = (shown[facts.experiments[run.experiment_id].name], short[run.run_id])
            of_labels = tuple(shown[value] for value in added[run.run_id])
            stage = shown[run.model_stage]
            what = (run.experiment_id, run.run_id, shown[run.name], run.status.value, stage)
            budget.add(group.basics, self._info, (*of_run, *what, shown[run.parent_run_id or ""], *of_labels), 1.0)
            _add_lifecycle(budget, group, of_run, run, facts)
            series = KeyedSeries(run.values, partial(self._of_key, run.values, (*of_run, stage), of_labels))
            if self._drops:  # what becomes equal by that is counted, shown or not
                entries = group.part()
                for key in sorted(run.values):
                    for spec, labels, value in series.make(key):
                        budget.add(entries, spec, labels, value, key)
            else:
                group.parts.append(series)
        for prefix, tracked in _TRACKED:
            self._add_tracked(budget, facts, short, prefix, tracked)
        return budget.snapshot(
            before or Snapshot({}),
            lambda spec: spec.help or self._names.help(keys[spec.name]),
            lambda group: facts.experiments[group].name if group else "",
            shown.originals,
        )

    def _of_key(
        self, values: Mapping[str, float], of_run: tuple[str, ...], of_labels: tuple[str, ...], key: str
    ) -> Iterator[tuple[Spec, tuple[str, ...], float]]:
        """The series of one key of a run."""
        family = self._names[key]
        spec = self._specs.get(family) or self._specs.setdefault(family, Spec(family, "", self._labels))
        ours = (*of_run, self._shown[key])
        yield spec, (*(ours[at] for at in self._kept), *of_labels), values[key]

    def _add_tracked(
        self, budget: SeriesBudget, facts: Facts, short: Mapping[str, str], prefix: str, series: _Tracked
    ) -> None:
        """What an experiment of the tracking library says beside its runs."""
        known: dict[str, list[RunGauges]] = {
            experiment_id: [] for experiment_id, its in facts.experiments.items() if its.name.startswith(prefix)
        }
        for run in facts.runs if known else ():
            if run.experiment_id in known:
                known[run.experiment_id].append(run)
        for experiment_id, runs in known.items():
            if not runs:
                continue
            newest = max(runs, key=lambda run: (run.start_ms or 0, run.run_id))
            name = self._shown[facts.experiments[experiment_id].name.removeprefix(prefix)]
            where = budget.group(experiment_id).lifecycle
            for spec, labels, value in series(name, short[newest.run_id], newest, runs):
                budget.add(where, spec, tuple(self._shown[label] for label in labels), value)

    def _add_registry(self, budget: SeriesBudget, facts: RegistryFacts, short: Mapping[str, str]) -> None:
        group, shown = budget.group(NO_EXPERIMENT), self._shown
        newest = registry.newest(facts.versions)
        for version in registry.noteworthy(facts.versions):
            run_id = short.get(version.run_id, "")
            for alias in version.aliases or ("",):
                named = (shown[version.model], str(version.version), shown[alias], shown[version.stage])
                budget.add(group.basics, families.MODEL_VERSION_INFO, (*named, run_id), 1.0)
        for (model, alias), times in sorted(facts.alias_changes.items()):
            budget.add(group.basics, families.MODEL_ALIAS_CHANGES, (shown[model], shown[alias]), float(times))
        for (model, alias), version in sorted(registry.by_alias(facts.versions).items(), key=lambda item: item[0]):
            part = group.part()
            values = facts.values.get(version.run_id, {})
            others = facts.values.get(newest[model].run_id, {})
            directions = facts.judged_by.get(version.run_id, self.directions)
            for key in sorted(values):
                labels = (shown[model], shown[alias], shown[key])
                budget.add(part, families.MODEL_ALIAS_METRIC, labels, values[key])
                if key in others:
                    delta = directions.improvement(key, values[key], others[key])
                    budget.add(part, families.MODEL_ALIAS_DELTA, labels, delta)

    def _add_experiment(self, budget: SeriesBudget, experiment_id: str, facts: ExperimentFacts) -> None:
        group, name = budget.group(experiment_id), self._shown[facts.name]
        group.runs_with = facts.runs_with
        for status in RunStatus:
            budget.add(group.basics, families.EXPERIMENT_RUNS, (name, status.value), float(facts.runs.get(status, 0)))
        if facts.last_start_ms:
            budget.add(group.basics, families.EXPERIMENT_LAST_START, (name,), facts.last_start_ms / 1000)
        aggregates = dict(facts.metrics)

        def of_key(key: str) -> Iterator[tuple[Spec, tuple[str, ...], float]]:
            for what, spec in families.AGGREGATES.items():
                value: float | None = getattr(aggregates[key], what)
                if value is not None:
                    yield spec, (name, self._shown[key]), value

        group.summary = KeyedSeries(aggregates, of_key, lambda key: aggregates[key].known)


def _add_lifecycle(
    budget: SeriesBudget, group: GroupSeries, of_run: tuple[str, str], run: RunGauges, facts: Facts
) -> None:
    if not run.status.terminal:
        budget.add(group.basics, families.RUN_STALLED, of_run, float(run.run_id in facts.stalled))
        budget.add(group.basics, families.RUN_ORPHANED, of_run, float(run.run_id in facts.orphaned))
    for spec, milliseconds in (
        (families.RUN_START, run.start_ms),
        (families.RUN_DURATION, duration_ms(run)),
        (families.RUN_LAST_METRIC, run.last_ms),
    ):
        if milliseconds is not None:
            budget.add(group.lifecycle, spec, of_run, milliseconds / 1000)
    strange = sum(not math.isfinite(value) for value in run.values.values())
    budget.add(group.lifecycle, families.RUN_NONFINITE, of_run, float(strange))


def _with_labels(spec: Spec, more: tuple[str, ...]) -> Spec:
    return Spec(spec.name, spec.help, (*spec.labels, *more), spec.type)
