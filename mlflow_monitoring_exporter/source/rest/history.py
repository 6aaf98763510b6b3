"""Points of many series through REST, in few requests, without ever trusting a sampled answer.

::

    few points expected     get-history-bulk-interval: one key of up to 100 runs in one request
    many, or in doubt       get-history: one series, page by page, all of it

The interval call gives at most 2500 points of each run. Above that it samples them: by rows since
MLflow 3.13, before that by the distinct steps of all runs in the request together; the first and
the last are always among them (mlflow/store/tracking/sqlalchemy_store.py and mlflow/server/handlers.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import structlog

from mlflow_monitoring_exporter.model import Point
from mlflow_monitoring_exporter.parallel import joined
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted
from mlflow_monitoring_exporter.source.rest.answer import MissingItemError, RefusalError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from mlflow_monitoring_exporter.source.rest.runs import records

_log = structlog.get_logger(__name__)

#: Points of one run in one answer of the interval call, and runs in one request: MLflow's limits.
_SAMPLED_FROM = 2500
_RUNS = 100
#: Points that one answer may be expected to hold: what is in memory at once, for each connection.
_POINTS = 25_000
#: Requests that are not worth more than one connection.
_FEW = 16
#: Series looked at together to find those that share a key.
_TOGETHER = 2000

_Records = dict[str, list[Any]]


class RestHistory:
    """Reads histories over several connections at once. ``page`` is in points; only tests change it."""

    def __init__(self, apis: Sequence[MlflowApi], on_skipped: decode.OnSkipped, *, page: int = _POINTS) -> None:
        self._apis = apis
        self._on_skipped = on_skipped
        self._page = page
        self._has_interval = True

    def read(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """All wanted points of each series; the chunks of several series may alternate."""
        series = iter(wanted)
        while together := list(islice(series, _TOGETHER)):
            tasks = [
                *(partial(self._together, key, group) for key, group in self._groups(together)),
                *(partial(self._alone, item) for item in together if not self._is_small(item)),
            ]
            # A server with one worker answers few small requests sooner one after the other.
            many = len(tasks) > _FEW or sum(_expected(item) for item in together) > _POINTS
            apis = self._apis[: len(tasks)] if many else self._apis[:1]
            yield from joined(tasks, apis, buffer=len(apis))

    def _is_small(self, item: Wanted) -> bool:
        most = _SAMPLED_FROM if item.from_step is None else _POINTS
        return self._has_interval and _expected(item) <= most

    def _groups(self, wanted: Iterable[Wanted]) -> Iterator[tuple[str, list[Wanted]]]:
        """Series of one key whose points fit into one answer; whole ones and tails apart."""
        by_key: dict[tuple[str, bool], list[Wanted]] = {}
        for item in wanted:
            if self._is_small(item):
                by_key.setdefault((item.key, item.from_step is None), []).append(item)
        for (key, _), items in by_key.items():
            items.sort(key=lambda item: (item.from_step or 0, item.last_step))
            group: list[Wanted] = []
            last_step = items[0].last_step
            for item in items:
                last_step = max(last_step, item.last_step)
                if group and (
                    len(group) == _RUNS or (len(group) + 1) * (last_step - (group[0].from_step or 0) + 1) > _POINTS
                ):
                    yield key, group
                    group, last_step = [], item.last_step
                group.append(item)
            yield key, group

    def _together(self, key: str, items: Sequence[Wanted], api: MlflowApi) -> Iterator[HistoryChunk]:
        bounds = None
        if items[0].from_step is not None:
            bounds = (min(i.from_step or 0 for i in items), max(i.last_step for i in items))
        try:
            found = self._interval(api, key, [item.run_id for item in items], bounds)
        except MissingItemError:  # one of the runs is gone, but it does not say which
            found = {}
        except RefusalError as error:
            if error.status in (401, 403):
                raise
            if error.status in (404, 405, 501):
                self._lacks_interval()
            found = {}
        for item in items:
            if points := found.get(item.run_id):
                yield HistoryChunk(item.run_id, key, self._points(item.run_id, points), complete=True)
            else:
                yield from self._alone(item, api)

    def _lacks_interval(self) -> None:
        if self._has_interval:
            self._has_interval = False
            _log.info("this MLflow has no get-history-bulk-interval: histories are read one by one, which takes longer")

    def _interval(self, api: MlflowApi, key: str, run_ids: Sequence[str], bounds: tuple[int, int] | None) -> _Records:
        """All points of each run within the bounds; runs of which that is not certain are left out."""
        if bounds is not None and bounds[1] - bounds[0] >= _SAMPLED_FROM:
            return self._halves(api, key, run_ids, bounds)
        fields: dict[str, Any] = {"run_ids": run_ids, "metric_key": key, "max_results": _SAMPLED_FROM}
        if bounds is not None:
            fields |= {"start_step": bounds[0], "end_step": bounds[1]}
        found: _Records = {run_id: [] for run_id in run_ids}
        for record in records(api.call("GET", "metrics/get-history-bulk-interval", fields), "metrics"):
            if isinstance(record, dict) and record.get("run_id") in found:
                found[record["run_id"]].append(record)
        doubtful = _doubtful(found)
        whole = {run_id: points for run_id, points in found.items() if run_id not in doubtful}
        if doubtful and bounds is not None and bounds[0] < bounds[1]:
            whole |= self._halves(api, key, doubtful, bounds)
        return whole

    def _halves(self, api: MlflowApi, key: str, run_ids: Sequence[str], bounds: tuple[int, int]) -> _Records:
        low, high = bounds
        middle = (low + high) // 2
        lower = self._interval(api, key, run_ids, (low, middle))
        upper = self._interval(api, key, [r for r in run_ids if r in lower], (middle + 1, high)) if lower else {}
        return {run_id: lower[run_id] + points for run_id, points in upper.items()}

    def _alone(self, item: Wanted, api: MlflowApi) -> Iterator[HistoryChunk]:
        fields = {"run_id": item.run_id, "metric_key": item.key, "max_results": self._page}
        first = True
        try:
            for answer in api.pages("GET", "metrics/get-history", fields):
                complete = not answer.get("next_page_token")
                found = records(answer, "metrics")
                if first and complete and not found:
                    # MLflow gives a run that does not exist an empty history: ask.
                    api.call("GET", "runs/get", {"run_id": item.run_id})
                yield HistoryChunk(item.run_id, item.key, self._points(item.run_id, found), complete)
                first = False
        except MissingItemError:
            yield HistoryChunk(item.run_id, item.key, (), complete=True, missing=True)

    def _points(self, run_id: str, found: Iterable[Any]) -> Sequence[Point]:
        points: list[Point] = []
        for record in found:
            try:
                points.append(decode.point(record))
            except decode.MalformedError as error:
                self._on_skipped(f"a point of run {run_id}", str(error))
        return points


def _expected(item: Wanted) -> int:
    """How many points are wanted, if there is one for each step."""
    return max(1, item.last_step - (item.from_step or 0) + 1)


def _doubtful(found: Mapping[str, Sequence[Any]]) -> list[str]:
    """The runs whose points may have been sampled."""
    steps = {_step(record) for points in found.values() for record in points}
    many = len(steps) >= _SAMPLED_FROM // 2 and max(steps) - min(steps) >= _SAMPLED_FROM
    return [run_id for run_id, points in found.items() if many or len(points) >= _SAMPLED_FROM]


def _step(record: Mapping[str, Any]) -> int:
    try:
        return decode.integer(record.get("step"), "its step")
    except decode.MalformedError:
        return 0
