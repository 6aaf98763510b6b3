"""Reads MLflow through its REST API, asking for little: the server needs 2 ms for every run that it returns.

Nothing here imports mlflow, which would cost seconds and a hundred megabytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.errors import SourceResponseError
from mlflow_monitoring_exporter.model import Experiment, Point, Run
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.answer import MissingItemError, RefusalError
from mlflow_monitoring_exporter.source.api import MlflowApi
from mlflow_monitoring_exporter.source.batches import batches
from mlflow_monitoring_exporter.source.protocol import HistoryChunk
from mlflow_monitoring_exporter.source.ranking import newest_first
from mlflow_monitoring_exporter.source.registry import stages_by_run

_log = structlog.get_logger(__name__)

_PAGE = 1000
#: Experiment ids in one request; the server binds each of them in a query.
_IDS = 1000
#: Runs asked for at a time while looking for the newest experiments.
_PROBE = 10


class RestSource:
    """A tracking server behind http:// or https://.

    ``stop`` ends a wait for the server at once, with SourceUnavailableError. ``on_skipped`` hears
    of every malformed record. The page sizes are MLflow's usual ones; only tests change them.
    """

    def __init__(
        self,
        config: MlflowConfig,
        *,
        stop: threading.Event,
        on_skipped: decode.OnSkipped = decode.ignore_skipped,
        run_page: int = _PAGE,
        history_page: int = 25_000,
    ) -> None:
        self._api = MlflowApi(config, stop)
        self._server = f"{self._api.url}#{config.workspace}" if config.workspace else self._api.url
        self._on_skipped = on_skipped
        self._run_page = run_page
        self._history_page = history_page
        self._registry_missed = False

    @property
    def server(self) -> str:
        return self._server

    def check(self) -> None:
        self._api.call("POST", "experiments/search", {"max_results": 1})

    def experiments(self) -> Sequence[Experiment]:
        """Every active experiment, sorted by id."""
        fields = {"view_type": "ACTIVE_ONLY", "max_results": _PAGE, "order_by": ["experiment_id ASC"]}
        found: dict[str, Experiment] = {}
        for answer in self._api.pages("POST", "experiments/search", fields):
            for record in _records(answer, "experiments"):
                with self._skipping("experiment", record, "experiment_id"):
                    experiment = decode.experiment(record)
                    found[experiment.experiment_id] = experiment
        return list(found.values())

    def newest_active(self, experiment_ids: Sequence[str], limit: int) -> Sequence[str]:
        """The ``limit`` experiments with the newest activity, newest first.

        When all of them fit they come back in the order given: no request is spent on sorting.

        The k experiments with the newest start, and the k with the newest end, together hold the k
        with the newest of either.
        """
        if len(experiment_ids) <= limit:
            return list(experiment_ids)
        activity: dict[str, int] = {}
        for ids in batches(experiment_ids, _IDS):
            for field in ("start_time", "end_time"):
                for experiment_id, when in self._newest_by(field, ids, limit):
                    activity[experiment_id] = max(when, activity.get(experiment_id, when))
        return newest_first(experiment_ids, activity, limit)

    def runs(self, experiment_ids: Sequence[str]) -> Iterator[Sequence[Run]]:
        """Every active run, oldest start first, in pages of at most 1000.

        MLflow's page token is an offset, which skips a run whenever an earlier one is deleted. So
        each page is a search of its own that begins where the last one ended; only runs that
        started in one millisecond are paged by token.
        """
        for ids in batches(experiment_ids, _IDS):
            yield from self._runs_of(ids)

    def histories(self, series: Iterable[tuple[str, str]]) -> Iterator[HistoryChunk]:
        """All points of each series; one that is logged meanwhile may make another come twice."""
        for run_id, key in series:
            yield from self._history(run_id, key)

    def stages(self) -> Mapping[str, str]:
        try:
            return stages_by_run(self._aliases(), self._model_versions())
        except (RefusalError, MissingItemError) as error:
            if isinstance(error, RefusalError) and error.status == 401:
                raise
            if not self._registry_missed:
                self._registry_missed = True
                _log.warning("the model registry cannot be read: stages come from run tags only", reason=str(error))
            return {}

    def close(self) -> None:
        self._api.close()

    def _aliases(self) -> Iterator[tuple[str, str, str]]:
        for answer in self._api.pages("GET", "registered-models/search", {"max_results": _PAGE}):
            for record in _records(answer, "registered_models"):
                with self._skipping("registered model", record, "name"):
                    yield from decode.aliases(record)

    def _model_versions(self) -> Iterator[tuple[str, str, str, str]]:
        for answer in self._api.pages("GET", "model-versions/search", {"max_results": _PAGE}):
            for record in _records(answer, "model_versions"):
                with self._skipping("model version of", record, "name"):
                    yield decode.model_version(record)

    def _newest_by(self, field: str, ids: Sequence[str], limit: int) -> Iterator[tuple[str, int]]:
        """The ``limit`` experiments whose newest ``field`` of a run is newest, with that time in ms.

        Take the newest runs, leave their experiments out, repeat. Runs without the field sort last.
        """
        left = dict.fromkeys(ids)
        found = 0
        while left and found < limit:
            answer = self._search_runs(list(left), [f"attributes.{field} DESC"], min(limit - found, _PROBE))
            before = len(left)
            for record in _records(answer, "runs"):
                info = _field(record, "info")
                experiment_id, when = _field(info, "experiment_id"), _field(info, field)
                if not when:
                    return
                if experiment_id in left:
                    del left[experiment_id]
                    found += 1
                    yield experiment_id, decode.integer(when, f"a run's {field}")
            if len(left) == before:
                return

    def _runs_of(self, ids: Sequence[str]) -> Iterator[Sequence[Run]]:
        seen: set[str] = set()
        since: int | None = None
        token = ""
        while True:
            condition = "" if since is None else f"attributes.start_time >= {since}"
            answer = self._search_runs(
                ids, ["attributes.start_time ASC"], self._run_page, filter=condition, page_token=token
            )
            records = _records(answer, "runs")
            page: list[Run] = []
            for record in records:
                info = _field(record, "info")
                with self._skipping("run", info, "run_id"):
                    run = decode.run(record)
                    if run.run_id not in seen:
                        seen.add(run.run_id)
                        page.append(run)
            if page:
                yield page
            last_token, token = token, answer.get("next_page_token") or ""
            if not token or not records:
                return
            last = _start(records[-1])
            if last is not None and (since is None or last > since):
                since, token = last, ""
            elif token == last_token:
                raise SourceResponseError(f"{self._api.url} repeats a page of runs without end")

    def _search_runs(
        self, ids: Sequence[str], order_by: Sequence[str], max_results: int, **fields: str
    ) -> Mapping[str, Any]:
        return self._api.call(
            "POST",
            "runs/search",
            {
                "experiment_ids": ids,
                "run_view_type": "ACTIVE_ONLY",
                "order_by": order_by,
                "max_results": max_results,
                **{name: value for name, value in fields.items() if value},
            },
        )

    @contextmanager
    def _skipping(self, kind: str, record: Any, name: str) -> Iterator[None]:
        """A malformed record inside the block is told of, and that is all."""
        try:
            yield
        except decode.MalformedError as error:
            self._on_skipped(f"{kind} {_field(record, name)}", str(error))

    def _history(self, run_id: str, key: str) -> Iterator[HistoryChunk]:
        fields = {"run_id": run_id, "metric_key": key, "max_results": self._history_page}
        first = True
        try:
            for answer in self._api.pages("GET", "metrics/get-history", fields):
                complete = not answer.get("next_page_token")
                records = _records(answer, "metrics")
                if first and complete and not records:
                    # MLflow gives a run that does not exist an empty history: ask.
                    self._api.call("GET", "runs/get", {"run_id": run_id})
                yield HistoryChunk(run_id, key, self._points(run_id, records), complete)
                first = False
        except MissingItemError:
            yield HistoryChunk(run_id, key, (), complete=True, missing=True)

    def _points(self, run_id: str, records: Iterable[Any]) -> Sequence[Point]:
        points: list[Point] = []
        for record in records:
            try:
                points.append(decode.point(record))
            except decode.MalformedError as error:
                self._on_skipped(f"a point of run {run_id}", str(error))
        return points


def _records(answer: Mapping[str, Any], field: str) -> list[Any]:
    records = answer.get(field)
    return records if isinstance(records, list) else []


def _field(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, dict) else None


def _start(run: Any) -> int | None:
    start = _field(_field(run, "info"), "start_time")
    return None if start is None else decode.integer(start, "a run's start time")
