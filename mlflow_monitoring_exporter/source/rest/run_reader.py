"""Answers questions about runs through REST; what they may be is in source/search.py. MLflow sorts and filters."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.batches import batches
from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.values import ModelVersion, Run, RunValue
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted
from mlflow_monitoring_exporter.source.rest.answer import MissingItemError, RefusalError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi, next_page_token
from mlflow_monitoring_exporter.source.rest.experiments import Experiments
from mlflow_monitoring_exporter.source.rest.history import RestHistory
from mlflow_monitoring_exporter.source.rest.registry import RestRegistry
from mlflow_monitoring_exporter.source.rest.runs import IDS, RunSearch, field, records
from mlflow_monitoring_exporter.source.search import FILES, WHOLE, FoundExperiment, Order, Parts, Search
from mlflow_monitoring_exporter.source.search_filter import LARGEST, parse, quoted

_PAGE = 1000
#: Runs whose keys stand for those of all.
_NEWEST = 100
_BAD_REQUEST = 400


class RestRunReader:
    """A RunReader of a tracking server behind http:// or https://. It has no way to read less than all of a run."""

    def __init__(
        self,
        config: MlflowConfig,
        *,
        stop: threading.Event,
        concurrency: int = 1,
        on_skipped: decode.OnSkipped = decode.ignore_skipped,
    ) -> None:
        self._apis = [MlflowApi(config, stop) for _ in range(concurrency)]
        self._api = self._apis[0]
        self._server = config.name or self._api.url
        self._search = RunSearch(self._api, on_skipped, None)
        self._experiments = Experiments(self._api, on_skipped)
        self._registry = RestRegistry(self._api, on_skipped)
        self._history = RestHistory(self._apis, on_skipped)

    @property
    def server(self) -> str:
        return self._server

    def experiments(self, *, counted: bool = True) -> Sequence[FoundExperiment]:
        """In the order of MLflow's ids. How many runs there are, no request tells."""
        found = {e.experiment_id: e for e in self._experiments.all(decode.found_experiment)}
        if not found:
            self._experiments.recognise()
        return list(found.values())

    def runs(self, search: Search, parts: Parts = WHOLE) -> Iterator[Run]:
        """In as few requests as there are pages; MLflow sorts."""
        parse(search.where)  # refused in the same words as elsewhere
        found = [self._of(ids, search) for ids in batches(search.experiment_ids, IDS)]
        if len(found) == 1:
            yield from found[0]
            return
        # More experiments than one request may name: each part is sorted in itself.
        together = sorted((run for part in found for run in part), key=_sort_key(search.order))
        yield from together[: search.limit]

    def values(self, search: Search, metric: str) -> Iterator[RunValue]:
        """Reads every run whole: 2 ms of the server's for each."""
        parse(search.where)
        for page in self._search.pages(search.experiment_ids, condition=search.where):
            for run in page.runs:
                value = next((point.value for point in run.latest if point.key == metric), None)
                yield RunValue(run.run_id, run.experiment_id, run.status, run.start_ms, run.end_ms, value)

    def keys(self, experiment_ids: Sequence[str]) -> Sequence[str]:
        """Of the newest runs."""
        newest = self.runs(Search(experiment_ids, limit=_NEWEST))
        return sorted({point.key for run in newest for point in run.latest})

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        return self._history.read(wanted)

    def artifacts(self, run: Run) -> Sequence[tuple[str, int]] | None:
        """A request for each directory."""
        found: list[tuple[str, int]] = []
        directories = [""]
        while directories and len(found) < FILES:
            try:
                answer = self._api.call("GET", "artifacts/list", {"run_id": run.run_id, "path": directories.pop()})
            except (RefusalError, MissingItemError):
                return None
            for record in records(answer, "files"):
                path, size = field(record, "path"), field(record, "file_size")
                if isinstance(path, str) and field(record, "is_dir") is True:
                    directories.append(path)
                elif isinstance(path, str):
                    found.append((path, int(size) if isinstance(size, int | str) and str(size).isdecimal() else 0))
        return found[:FILES]

    def registry(self) -> Sequence[ModelVersion]:
        return self._registry.read(refresh=True)

    def close(self) -> None:
        for api in self._apis:
            api.close()

    def _of(self, ids: Sequence[str], search: Search) -> Iterator[Run]:
        """The first runs of some experiments."""
        left = math.inf if search.limit is None else search.limit
        fields: dict[str, Any] = {"filter": search.where}
        if (order := search.order) is not None:
            name = f"metrics.{quoted(order.metric)}"
            finite = f"{name} < {LARGEST} AND {name} > -{LARGEST}"
            fields = {
                "filter": f"{search.where} AND {finite}" if search.where.strip() else finite,
                "order_by": [f"{name} {'DESC' if order.descending else 'ASC'}"],
            }
        seen: set[str] = set()
        while left > 0:
            answer = self._asked(ids, min(left, _PAGE), fields)
            for run in self._search.decoded(answer):
                # Servers before MLflow 3 take NaN for 0; a page may shift while it is read.
                if run.run_id not in seen and (order is None or math.isfinite(_value(run, order.metric))):
                    seen.add(run.run_id)
                    left -= 1
                    yield run
                    if not left:
                        return
            token = next_page_token(answer, self._api.url)
            if not token or not records(answer, "runs"):
                return
            fields["page_token"] = token

    def _asked(self, ids: Sequence[str], limit: float, fields: dict[str, Any]) -> Any:
        try:
            return self._search.search(ids, int(limit), **fields)
        except RefusalError as error:
            if error.status != _BAD_REQUEST:
                raise
            raise QuestionError(str(error)) from None


def _value(run: Run, metric: str) -> float:
    return next((point.value for point in run.latest if point.key == metric), math.nan)


def _sort_key(order: Order | None) -> Any:
    def key(run: Run) -> tuple[float, float, str]:
        value = 0.0 if order is None else _value(run, order.metric)
        return (-value if order and order.descending else value, -(run.start_ms or 0), run.run_id)

    return key
