"""From what is known of experiments, runs and models to the gauges that Prometheus sees.

::

    1  aggregates of each experiment                always
    2  versions and aliases of registered models    always
    3  runs: open ones, the last, the best          as far as ``gauges.max_series`` goes
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.config.schema import GaugesConfig, MetricsConfig
from mlflow_monitoring_exporter.model import NO_EXPERIMENT, ModelVersion, RunGauges, RunStatus, Snapshot
from mlflow_monitoring_exporter.surface import families
from mlflow_monitoring_exporter.surface.families import Spec
from mlflow_monitoring_exporter.surface.names import FamilyNames, short_run_ids
from mlflow_monitoring_exporter.transform import registry
from mlflow_monitoring_exporter.transform.aggregates import Aggregate
from mlflow_monitoring_exporter.transform.book import Book
from mlflow_monitoring_exporter.transform.direction import Directions
from mlflow_monitoring_exporter.transform.labels import bounded
from mlflow_monitoring_exporter.transform.lifecycle import duration_ms

#: The labels of a run's own series, before the operator's wishes.
RUN_LABELS = ("experiment_name", "run_id", "model_stage", "metric")


@dataclass(frozen=True, slots=True)
class ExperimentFacts:
    """One experiment as its aggregates show it. ``last_start_ms`` is 0 while no run says when it started."""

    name: str
    runs: Mapping[RunStatus, int] = field(default_factory=dict)
    metrics: Iterable[tuple[str, Aggregate]] = ()
    last_start_ms: int = 0


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
        self._names = FamilyNames(metrics.rename, generic=config.naming == "generic")
        self._room = config.max_series
        self._most = config.labels.max_values
        self._added = tuple(config.labels.add)
        self._kept = tuple(at for at, name in enumerate(RUN_LABELS) if name not in config.labels.drop)
        self._labels = (*(RUN_LABELS[at] for at in self._kept), *self._added)
        self._info = _with_labels(families.RUN_INFO, self._added)
        self._specs: dict[str, Spec] = {}

    def build(self, facts: Facts, before: Snapshot | None = None) -> Snapshot:
        """All gauges in their groups, one for each experiment and one for the registry.

        Equal facts give equal snapshots. Whatever is equal to its part of ``before`` is that part.
        """
        book = Book([*facts.experiments, NO_EXPERIMENT], room=self._room)
        of_registry = {version.run_id for version in registry.noteworthy(facts.registry.versions) if version.run_id}
        short = short_run_ids({run.run_id for run in facts.runs} | of_registry)
        for experiment_id in sorted(facts.experiments):
            _enter_experiment(book, experiment_id, facts.experiments[experiment_id])
        self._enter_registry(book, facts.registry, short)
        keys: dict[str, set[str]] = {}
        added = bounded(facts.runs, self._added, self._most)
        for run in facts.runs:
            name = facts.experiments[run.experiment_id].name
            of_run = (name, short[run.run_id])
            self._enter_life(book, run, of_run, added[run.run_id], facts)
            for key in sorted(run.values):
                family = self._names[key]
                keys.setdefault(family, set()).add(key)
                spec = self._specs.get(family) or self._specs.setdefault(family, Spec(family, "", self._labels))
                ours = (*of_run, run.model_stage, key)
                labels = (*(ours[at] for at in self._kept), *added[run.run_id])
                book.enter(run.experiment_id, spec, labels, run.values[key])
        return book.close(before or Snapshot({}), lambda spec: spec.help or self._names.help(keys[spec.name]))

    def _enter_life(
        self, book: Book, run: RunGauges, of_run: tuple[str, str], added: tuple[str, ...], facts: Facts
    ) -> None:
        group = run.experiment_id
        what = (run.experiment_id, run.run_id, run.name, run.status.value, run.model_stage, run.parent_run_id or "")
        book.enter(group, self._info, (*of_run, *what, *added), 1.0)
        for spec, milliseconds in (
            (families.RUN_START, run.start_ms),
            (families.RUN_DURATION, duration_ms(run)),
            (families.RUN_LAST_METRIC, run.last_ms),
        ):
            if milliseconds is not None:
                book.enter(group, spec, of_run, milliseconds / 1000)
        strange = sum(not math.isfinite(value) for value in run.values.values())
        book.enter(group, families.RUN_NONFINITE, of_run, float(strange))
        if not run.status.terminal:
            book.enter(group, families.RUN_STALLED, of_run, float(run.run_id in facts.stalled))
            book.enter(group, families.RUN_ORPHANED, of_run, float(run.run_id in facts.orphaned))

    def _enter_registry(self, book: Book, facts: RegistryFacts, short: Mapping[str, str]) -> None:
        newest = registry.newest(facts.versions)
        for version in registry.noteworthy(facts.versions):
            run_id = short.get(version.run_id, "")
            for alias in version.aliases or ("",):
                what = (version.model, str(version.version), alias, version.stage, run_id)
                book.enter(NO_EXPERIMENT, families.MODEL_VERSION_INFO, what, 1.0)
        for (model, alias), version in sorted(registry.by_alias(facts.versions).items(), key=lambda item: item[0]):
            values = facts.values.get(version.run_id, {})
            others = facts.values.get(newest[model].run_id, {})
            directions = facts.judged_by.get(version.run_id, self.directions)
            for key in sorted(values):
                labels = (model, alias, key)
                book.enter(NO_EXPERIMENT, families.MODEL_ALIAS_METRIC, labels, values[key])
                if key in others:
                    delta = directions.improvement(key, values[key], others[key])
                    book.enter(NO_EXPERIMENT, families.MODEL_ALIAS_DELTA, labels, delta)
        for changed, times in sorted(facts.alias_changes.items()):
            book.enter(NO_EXPERIMENT, families.MODEL_ALIAS_CHANGES, changed, float(times))


def _enter_experiment(book: Book, experiment_id: str, facts: ExperimentFacts) -> None:
    for status in RunStatus:
        labels = (facts.name, status.value)
        book.enter(experiment_id, families.EXPERIMENT_RUNS, labels, float(facts.runs.get(status, 0)))
    if facts.last_start_ms:
        book.enter(experiment_id, families.EXPERIMENT_LAST_START, (facts.name,), facts.last_start_ms / 1000)
    for key, aggregate in facts.metrics:
        for what, spec in families.AGGREGATES.items():
            value: float | None = getattr(aggregate, what)
            if value is not None:
                book.enter(experiment_id, spec, (facts.name, key), value)


def _with_labels(spec: Spec, more: tuple[str, ...]) -> Spec:
    return Spec(spec.name, spec.help, (*spec.labels, *more), spec.type)
