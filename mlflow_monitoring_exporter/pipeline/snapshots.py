"""From what changed to the snapshot that is shown: only that is read from the mirror again.

::

    moved, gone -> overview: aggregates, and which runs are shown one by one
                     |
    the shown runs --+--> gauges -> snapshot; the same object when it would be equal
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mlflow_monitoring_exporter.config.schema import ExportConfig, GaugesConfig
from mlflow_monitoring_exporter.core.directions.direction import Verdict
from mlflow_monitoring_exporter.core.values import RunGauges, Snapshot
from mlflow_monitoring_exporter.pipeline.differences import Differences
from mlflow_monitoring_exporter.state.latest_values import LatestValues
from mlflow_monitoring_exporter.state.mirrored_registry import RegistryCopy
from mlflow_monitoring_exporter.transform.gauges import Facts, Gauges, RegistryFacts
from mlflow_monitoring_exporter.transform.lifecycle import Patience, orphaned, stalled
from mlflow_monitoring_exporter.transform.model_versions import runs_of
from mlflow_monitoring_exporter.transform.overview import Overview, by_importance


class SnapshotBuilder:
    """The gauges of one MLflow. Used by one thread at a time."""

    def __init__(self, latest: LatestValues, gauges: GaugesConfig, config: ExportConfig) -> None:
        self._latest = latest
        self._gauges = Gauges(gauges, config.metrics)
        self._config = gauges.runs
        self._nested = gauges.candidates == "best"
        self._patience = Patience.of(gauges, interval=config.interval)
        self._snapshot = Snapshot({})
        self._begin()

    def _begin(self) -> None:
        self._overview = Overview(self._config, self._gauges.directions, nested=self._nested)
        self._names: Mapping[str, str] = {}
        self._registry = RegistryCopy()
        self._runs: dict[str, RunGauges] = {}
        self._shown: list[RunGauges] = []
        self._open: list[RunGauges] = []
        self._judged: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
        self._whole = False

    def update(self, found: Differences, now_ms: int) -> Snapshot:
        """All gauges as they are now. ``now_ms`` is the wall clock, by which silence is measured."""
        changed = found.anything or found.registry is not self._registry or not self._whole
        if changed:
            if not self._whole:  # the first time, or the last time failed: the mirror has everything
                self._begin()
            self._whole = False
            self._take_over(found)
            self._whole = True
        judged = self._judge(now_ms)
        if changed or judged != self._judged:
            self._judged = judged
            self._snapshot = self._gauges.build(self._facts(*judged), self._snapshot)
        return self._snapshot

    def verdicts(self) -> Iterator[tuple[str, str, Verdict]]:
        """Of every metric key of every experiment (by name), which way is better, and what says so."""
        return self._overview.verdicts(self._names)

    def _take_over(self, found: Differences) -> None:
        moved = found.moved | found.gone
        read = set()
        entering = self._overview.watch(found.experiments)
        self._overview.take_hints(found.hints)
        for run in self._latest.of(entering):
            self._overview.put(run)
            read.add(run.run_id)
        self._reread(moved - read)
        self._names, self._registry = found.experiments, found.registry
        shown = self._overview.shown()
        wanted = shown | runs_of(self._registry.versions)
        self._runs = {run_id: run for run_id, run in self._runs.items() if run_id in wanted and run_id not in moved}
        for run in self._latest.named(wanted - self._runs.keys()):
            self._runs[run.run_id] = run
        self._shown = sorted((self._runs[i] for i in shown if i in self._runs), key=by_importance)
        self._open = [run for run in self._shown if not run.status.terminal]

    def _reread(self, run_ids: Iterable[str]) -> None:
        missing = set(run_ids)
        for run in self._latest.named(missing):
            self._overview.put(run)
            missing.discard(run.run_id)
        for run_id in missing:
            self._overview.drop(run_id)

    def _judge(self, now_ms: int) -> tuple[frozenset[str], frozenset[str]]:
        """Which runs are stalled, and which are orphaned."""
        silent = [run for run in self._open if stalled(run, now_ms, self._patience)]
        left_behind = frozenset(
            run.run_id
            for run in silent
            if orphaned(
                run,
                now_ms,
                self._patience,
                parent_ended=run.parent_run_id is not None and self._overview.ended(run.parent_run_id),
            )
        )
        return frozenset(run.run_id for run in silent), left_behind

    def _facts(self, silent: frozenset[str], left_behind: frozenset[str]) -> Facts:
        registry = self._registry
        mirrored = {run_id: run.values for run_id, run in self._runs.items() if run.experiment_id in self._names}
        judged_by = {
            version.run_id: self._overview.directions(self._runs[version.run_id].experiment_id)
            for version in registry.versions
            if version.run_id in mirrored
        }
        return Facts(
            self._overview.facts(self._names),
            self._shown,
            silent,
            left_behind,
            RegistryFacts(registry.versions, {**registry.elsewhere, **mirrored}, registry.alias_changes, judged_by),
        )
