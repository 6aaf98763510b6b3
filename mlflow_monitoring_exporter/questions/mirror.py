"""Questions answered from the daemon's mirror: at once, also where MLflow is slow or away.

It has the runs of watched experiments with the latest values of selected metrics; no parameters, no other tags than
samples carry, no inputs, no files, and no histories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import GREATER_IS_BETTER, ModelVersion, Run, RunValue
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted
from mlflow_monitoring_exporter.source.search import WHOLE, FoundExperiment, Parts, Search
from mlflow_monitoring_exporter.source.search_filter import Entity, parse
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirrored_runs import Condition, MirroredRuns

_ATTRIBUTES = frozenset({"run_id", "run_name", "status", "start_time", "end_time"})


class MirrorReader:
    """A RunReader of the mirror of the tracking server ``identity``. Its methods raise StateError, too."""

    def __init__(self, database: Database, identity: str) -> None:
        """Raises QuestionError where the server was never read into this state."""
        self._database = database
        self._runs = MirroredRuns(database, identity)
        self.server = identity
        if not self._runs.known:
            raise QuestionError(
                f"{database.where} has no mirror of {identity}: no daemon has read it into this state yet"
            )

    def experiments(self, *, counted: bool = True) -> Sequence[FoundExperiment]:
        """Watched ones; of their tags, what says which way metrics get better."""
        return [
            FoundExperiment(
                each.experiment_id,
                each.name,
                {f"{GREATER_IS_BETTER}{key}": str(rises).lower() for key, rises in each.hints.items()},
                None,
                each.runs,
                each.last_ms,
            )
            for each in self._runs.experiments()
        ]

    def runs(self, search: Search, parts: Parts = WHOLE) -> Iterator[Run]:
        order = None if search.order is None else (search.order.metric, search.order.descending)
        return self._runs.runs(search.experiment_ids, _conditions(search), order=order, limit=search.limit)

    def values(self, search: Search, metric: str) -> Iterator[RunValue]:
        return self._runs.values(search.experiment_ids, _conditions(search), metric)

    def keys(self, experiment_ids: Sequence[str]) -> Sequence[str]:
        return self._runs.keys()

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """None are kept."""
        return iter(())

    def artifacts(self, run: Run) -> None:
        """None are known."""
        return

    def registry(self) -> Sequence[ModelVersion]:
        return self._runs.registry()

    def close(self) -> None:
        self._database.close()


def _conditions(search: Search) -> list[Condition]:
    found: list[Condition] = []
    for comparison in parse(search.where):
        is_metric = comparison.entity is Entity.METRIC
        if not is_metric and not (comparison.entity is Entity.ATTRIBUTE and comparison.key in _ATTRIBUTES):
            raise QuestionError(
                f"the mirror knows nothing of {comparison.entity} {comparison.key}: ask MLflow itself, without --mirror"
            )
        found.append(Condition(is_metric, comparison.key, comparison.operator, comparison.value))
    return found
