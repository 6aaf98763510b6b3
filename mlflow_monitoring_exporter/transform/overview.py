"""What all runs together say of their experiments, and which runs are shown one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mlflow_monitoring_exporter.config.schema import ShownRunsConfig
from mlflow_monitoring_exporter.core.directions.direction import Direction, Directions, Verdict
from mlflow_monitoring_exporter.core.patterns import Patterns
from mlflow_monitoring_exporter.core.values import RunGauges
from mlflow_monitoring_exporter.transform.aggregates import Aggregates
from mlflow_monitoring_exporter.transform.experiment_table import ExperimentTable
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts


class Overview:
    """Every run of the watched experiments. Cheap to keep in step, as only what changed is put again."""

    def __init__(self, config: ShownRunsConfig, directions: Directions, *, nested: bool = True) -> None:
        """With ``nested`` a run and those nested in it are one event, else each is one."""
        self._config = config
        self._nested = nested
        self._by = [Patterns([pattern]) for pattern in config.by]
        self._directions = directions
        self._judged_by: dict[str, Directions] = {}
        self._tables: dict[str, ExperimentTable] = {}
        self._aggregates: dict[str, Aggregates] = {}

    def watch(self, experiment_ids: Collection[str]) -> list[str]:
        """Forget all other experiments; those of these that are new here, and so have no runs yet."""
        for gone in self._tables.keys() - set(experiment_ids):
            del self._tables[gone], self._aggregates[gone]
            self._judged_by.pop(gone, None)
        new = [i for i in experiment_ids if i not in self._tables]
        for experiment_id in new:
            table = self._tables[experiment_id] = ExperimentTable(nested=self._nested)
            self._aggregates[experiment_id] = Aggregates(table, self._directions)
        return new

    def take_hints(self, hints: Mapping[str, Mapping[str, bool]]) -> None:
        """What the tags of experiments say of metrics, by experiment id; of any other they say nothing."""
        for experiment_id, aggregates in self._aggregates.items():
            judged_by = self.directions(experiment_id).within(hints.get(experiment_id, {}))
            self._judged_by[experiment_id] = judged_by
            aggregates.judge_by(judged_by)

    def directions(self, experiment_id: str) -> Directions:
        """By which this experiment is judged."""
        return self._judged_by.get(experiment_id, self._directions)

    def put(self, run: RunGauges) -> None:
        """A run as it is now; one of an experiment that is not watched is passed over."""
        if table := self._tables.get(run.experiment_id):  # MLflow never moves a run to another one
            table.put(run)

    def drop(self, run_id: str) -> None:
        """A run is gone."""
        for table in self._tables.values():
            table.drop(run_id)

    def ended(self, run_id: str) -> bool:
        """Whether a run is known to have ended, or is not there."""
        known = (table.status(run_id) for table in self._tables.values())
        return all(status is None or status.terminal for status in known)

    def facts(self, names: Mapping[str, str]) -> dict[str, ExperimentFacts]:
        """Of each experiment, which is called so, with aggregates that are up to date."""
        return {
            experiment_id: ExperimentFacts(
                names[experiment_id],
                table.counts(),
                self._aggregates[experiment_id].update().items(),
                table.last_start_ms(),
                table.runs_with,
            )
            for experiment_id, table in self._tables.items()
        }

    def shown(self) -> set[str]:
        """The runs that have series of their own."""
        return {run_id for i, table in self._tables.items() for run_id in self._shown(table, self.directions(i))}

    def verdicts(self, names: Mapping[str, str]) -> Iterator[tuple[str, str, Verdict]]:
        """Name and key of every metric of each experiment, which is called so, and which way is better."""
        for experiment_id, table in self._tables.items():
            directions = self.directions(experiment_id)
            for key in table:
                yield names[experiment_id], key, directions.verdict(key)

    def _shown(self, table: ExperimentTable, directions: Directions) -> Iterator[str]:
        yield from table.open_runs()
        yield from table.last_ended(self._config.last)
        if self._config.best and (found := self._best_by(table, directions)):
            yield from table.best(self._config.best, *found)

    def _best_by(self, table: ExperimentTable, directions: Directions) -> tuple[str, Direction] | None:
        keys = list(table)
        if not self._by:
            told = [key for key in directions.told() if key in table]
            better = [key for key in keys if not directions.verdict(key).resource]  # a fast run is not yet a good one
            return next(((key, to) for key in (*told, *better, *keys) if (to := directions.of(key))), None)
        chosen = (key for patterns in self._by for key in keys if key in patterns)
        return next(((key, to) for key in chosen if (to := directions.of(key))), None)


def by_importance(run: RunGauges) -> tuple[bool, int, str]:
    """A key to sort by: runs that have not ended first, then those that started last."""
    return run.status.terminal, -(run.start_ms or 0), run.run_id
