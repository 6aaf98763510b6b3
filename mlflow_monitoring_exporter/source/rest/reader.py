"""Reads MLflow through its REST API, asking for little: the server needs 2 ms for every run that it returns.

Nothing here imports mlflow, which would cost seconds and a hundred megabytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.values import TERMINAL_STATUSES, Experiment, ModelVersion, Run
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.protocol import Changes, HistoryChunk, LastPoll, RunPage, Wanted
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from mlflow_monitoring_exporter.source.rest.experiments import Experiments
from mlflow_monitoring_exporter.source.rest.history import RestHistory
from mlflow_monitoring_exporter.source.rest.registry import RestRegistry
from mlflow_monitoring_exporter.source.rest.runs import RunSearch

_log = structlog.get_logger(__name__)

_PAGE = 1000
#: Deleted runs that are told apart from new deletions by naming them; with more, only the sweep finds deletions.
_MOST_DELETED = 200
#: MLflow compares with AND only, so "has not ended" is said like this.
_OPEN = " AND ".join(f"attributes.status != '{status}'" for status in TERMINAL_STATUSES)


class RestSource:
    """A tracking server behind http:// or https://.

    ``stop`` ends a wait for the server at once, with SourceUnavailableError. ``on_skipped`` hears
    of every malformed record. At most ``concurrency`` requests are under way at the same time. Of the
    parameters of runs only ``params`` are read.
    """

    #: No request tells of a point that is logged late.
    exact = False
    #: The server reads its database for us.
    near = False

    def __init__(
        self,
        config: MlflowConfig,
        *,
        stop: threading.Event,
        on_skipped: decode.OnSkipped = decode.ignore_skipped,
        concurrency: int = 1,
        params: frozenset[str] = frozenset(),
        history_page: int = 25_000,
    ) -> None:
        self._apis = [MlflowApi(config, stop) for _ in range(concurrency)]
        self._api = self._apis[0]
        address = f"{self._api.url}#{config.workspace}" if config.workspace else self._api.url
        self._server = config.name or address
        self._search = RunSearch(self._api, on_skipped, params)
        self._experiments = Experiments(self._api, on_skipped)
        self._on_skipped = on_skipped
        self._registry = RestRegistry(self._api, on_skipped)
        self._history = RestHistory(self._apis, on_skipped, page=history_page)
        #: Whether the answer without experiments that came last was MLflow's.
        self._recognised = False
        self._deleted: set[str] = set()
        self._asks_for_deleted = True

    @property
    def server(self) -> str:
        return self._server

    def check(self) -> None:
        if not self._experiments.any():
            self._experiments.recognise()

    def experiments(self) -> Sequence[Experiment]:
        """Every active experiment, sorted by id."""
        recognised, self._recognised = self._recognised, False
        found = {experiment.experiment_id: experiment for experiment in self._experiments.all(decode.experiment)}
        if not found and not recognised:
            self._experiments.recognise()
        self._recognised = not found
        return list(found.values())

    def activity(self, experiment_ids: Sequence[str], limit: int) -> Mapping[str, int]:
        return self._search.activity(experiment_ids, limit)

    def mark(self) -> str:
        """There is no cursor: time must do."""
        return ""

    def runs(self, experiment_ids: Sequence[str], *, after: str | None = None, limit: int = _PAGE) -> Iterator[RunPage]:
        return self._search.pages(experiment_ids, after=after, limit=limit)

    def changes(self, last: LastPoll) -> Iterator[Changes]:
        """Three requests when nothing happened: for runs that have not ended, that ended lately, that were deleted.

        Runs that were open and are in neither answer are asked for by name.
        """
        seen: set[str] = set()
        everywhere = [*last.watched, *last.others]
        lately = f"attributes.end_time > {last.lately_ms}"
        for ids, condition in ((last.watched, _OPEN), (everywhere, lately)):
            for page in self._search.pages(ids, condition=condition):
                if runs := [run for run in page.runs if run.run_id not in seen]:
                    seen.update(run.run_id for run in runs)
                    self._deleted -= seen
                    yield Changes(runs)
        unseen = [run_id for run_id in last.open_runs if run_id not in seen]
        found: list[Run] = list(self.named(last.watched, unseen)) if unseen else []
        gone = {*unseen} - {run.run_id for run in found}
        yield Changes(found, [*gone, *self._newly_deleted(last.watched)])

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """All wanted points of each series; one that is logged meanwhile may make another come twice."""
        return self._history.read(wanted)

    def logged_once(self, run_ids: Sequence[str]) -> Mapping[str, int]:
        """No request tells."""
        return {}

    def named(self, experiment_ids: Sequence[str], run_ids: Sequence[str]) -> Iterator[Run]:
        return self._search.named(experiment_ids, run_ids)

    def registry(self, *, refresh: bool = True) -> Sequence[ModelVersion]:
        """One request when nothing changed, unless ``refresh``."""
        return self._registry.read(refresh=refresh)

    def cut(self) -> None:
        for api in self._apis:
            api.cut()

    def close(self) -> None:
        for api in self._apis:
            api.close()

    def _newly_deleted(self, experiment_ids: Sequence[str]) -> list[str]:
        if not experiment_ids or not self._asks_for_deleted:
            return []
        known = sorted(self._deleted)
        found = self._search.deleted(experiment_ids, known=known, limit=_MOST_DELETED)
        self._deleted.update(found)
        if len(self._deleted) >= _MOST_DELETED:
            self._asks_for_deleted = False
            _log.info("too many deleted runs to list; the sweep (export.sweep) finds further deletions")
        return found
