"""What all runs together say of their experiments, and which runs are shown one by one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mlflow_monitoring_exporter.config.schema import ShownRunsConfig
from mlflow_monitoring_exporter.model import RunGauges
from mlflow_monitoring_exporter.transform.aggregates import Aggregates
from mlflow_monitoring_exporter.transform.columns import Columns
from mlflow_monitoring_exporter.transform.direction import Direction, Directions
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts
from mlflow_monitoring_exporter.transform.select import Patterns


class Board:
    """Every run of the watched experiments. Cheap to keep in step, as only what changed is put again."""

    def __init__(self, config: ShownRunsConfig, directions: Directions) -> None:
        self._config = config
        self._by = [Patterns([pattern]) for pattern in config.by]
        self._directions = directions
        self._columns: dict[str, Columns] = {}
        self._aggregates: dict[str, Aggregates] = {}

    def watch(self, experiment_ids: Collection[str]) -> list[str]:
        """Forget all other experiments; those of these that are new here, and so have no runs yet."""
        for gone in self._columns.keys() - set(experiment_ids):
            del self._columns[gone], self._aggregates[gone]
        new = [i for i in experiment_ids if i not in self._columns]
        for experiment_id in new:
            columns = self._columns[experiment_id] = Columns()
            self._aggregates[experiment_id] = Aggregates(columns, self._directions)
        return new

    def put(self, run: RunGauges) -> None:
        """A run as it is now; one of an experiment that is not watched is passed over."""
        if columns := self._columns.get(run.experiment_id):  # MLflow never moves a run to another one
            columns.put(run)

    def drop(self, run_id: str) -> None:
        """A run is gone."""
        for columns in self._columns.values():
            columns.drop(run_id)

    def ended(self, run_id: str) -> bool:
        """Whether a run is known to have ended, or is not there."""
        known = (columns.status(run_id) for columns in self._columns.values())
        return all(status is None or status.terminal for status in known)

    def facts(self, names: Mapping[str, str]) -> dict[str, ExperimentFacts]:
        """Of each experiment, which is called so."""
        return {
            experiment_id: ExperimentFacts(
                names[experiment_id], columns.counts(), self._aggregates[experiment_id], columns.last_start_ms()
            )
            for experiment_id, columns in self._columns.items()
        }

    def shown(self) -> set[str]:
        """The runs that have series of their own."""
        return {run_id for columns in self._columns.values() for run_id in self._shown(columns)}

    def directions(self) -> dict[str, Direction | None]:
        """Every metric key of these experiments, sorted, with the direction in which it gets better."""
        keys = {key for columns in self._columns.values() for key in columns}
        return {key: self._directions.of(key) for key in sorted(keys)}

    def _shown(self, columns: Columns) -> Iterator[str]:
        yield from columns.open_runs()
        yield from columns.last_ended(self._config.last)
        if self._config.best and (found := self._best_by(columns)):
            yield from columns.best(self._config.best, *found)

    def _best_by(self, columns: Columns) -> tuple[str, Direction] | None:
        known = [(key, direction) for key in columns if (direction := self._directions.of(key))]
        if not self._by:
            return known[0] if known else None
        return next((item for patterns in self._by for item in known if item[0] in patterns), None)


def by_importance(run: RunGauges) -> tuple[bool, int, str]:
    """A key to sort by: runs that have not ended first, then those that started last."""
    return run.status.terminal, -(run.start_ms or 0), run.run_id
