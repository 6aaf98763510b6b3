"""Points of many series through REST, in few requests, without ever trusting a sampled answer.

::

    whole, of many runs     get-history-bulk, where it is offered: one key of up to 100 runs (bulk_history.py)
    the end of a series     get-history-bulk-interval: the same of some steps
    few series of a key     get-history, which is cheaper for each of them: a run of ten thousand keys shares none
    many, or in doubt       get-history: one series, page by page, all of it

The interval call gives at most 2500 points of each run. Above that it samples them: by rows since
MLflow 3.13, before that by the distinct steps of all runs in the request together; the first and
the last are always among them (mlflow/store/tracking/sqlalchemy_store.py and mlflow/server/handlers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import structlog

from mlflow_monitoring_exporter.core.concurrency import joined
from mlflow_monitoring_exporter.core.errors import SourceResponseError
from mlflow_monitoring_exporter.core.values import Point
from mlflow_monitoring_exporter.source import decode
from mlflow_monitoring_exporter.source.fields import shown
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted
from mlflow_monitoring_exporter.source.rest.answer import MissingItemError, PassingError, RefusalError
from mlflow_monitoring_exporter.source.rest.api import MlflowApi, next_page_token
from mlflow_monitoring_exporter.source.rest.bulk_history import SHALLOW, BulkHistory
from mlflow_monitoring_exporter.source.rest.points import Records, by_run, step_of
from mlflow_monitoring_exporter.source.rest.runs import records

_log = structlog.get_logger(__name__)

#: Points of one run in one answer of the interval call, and runs in one request: MLflow's limits.
_SAMPLED_FROM = 2500
_RUNS = 100
#: Points that one answer may be expected to hold: what is in memory at once, for each connection.
_POINTS = 25_000
#: Requests that are not worth more than one connection.
_FEW = 16
#: Series looked at together to find those that share a key; and at first.
_TOGETHER, _FIRST = 2000, 100
#: Whole series of a key from which on one interval call costs a server less than a get-history for each.
_WORTH_IT = 3
#: Series that a server may fail at in a row (HTTP 500) before it counts as a server that does not answer.
_FAILURES = 3

_BAD_REQUEST = 400
_INTERNAL_ERROR = 500

_Task = Callable[[MlflowApi], Iterator[HistoryChunk]]


class RestHistory:
    """Reads histories over several connections at once. ``page`` is in points; only tests change it."""

    def __init__(self, apis: Sequence[MlflowApi], on_skipped: decode.OnSkipped, *, page: int = _POINTS) -> None:
        self._apis = apis
        self._on_skipped = on_skipped
        self._page = page
        self._bulk = BulkHistory(on_skipped)
        # The first few say how many points a series has, which steps do not tell.
        self._at_once = _FIRST
        self._has_interval = True
        self._failures = 0

    def read(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """All wanted points of each series; the chunks of several series may alternate."""
        series = iter(wanted)
        while together := list(islice(series, self._at_once)):
            self._at_once = _TOGETHER
            bulky: list[Wanted] = []
            others: list[Wanted] = []
            for item in together:  # asked once: what is offered may change in between
                (bulky if self._bulk.is_for(item) else others).append(item)
            tasks: list[_Task] = [
                *(task for key, group in self._bulk.groups(bulky) for task in self._tasks(key, group, self._in_bulk)),
                *(task for key, group in self._groups(others) for task in self._tasks(key, group, self._together)),
                *(partial(self._alone, item) for item in others if not self._is_small(item)),
            ]
            # A server with one worker answers few small requests sooner one after the other.
            many = len(tasks) > _FEW or sum(_expected(item) for item in together) > _POINTS
            apis = self._apis[: len(tasks)] if many else self._apis[:1]
            # Few points may wait in many chunks; what is deep comes in chunks of up to _POINTS.
            deepest = max(_expected(item) for item in together)
            yield from joined(tasks, apis, buffer=len(apis) * max(1, _POINTS // deepest))

    def _tasks(
        self,
        key: str,
        group: Sequence[Wanted],
        together: Callable[[str, Sequence[Wanted], MlflowApi], Iterator[HistoryChunk]],
    ) -> Sequence[_Task]:
        """The cheapest requests for a group of series of one key, which may be read ``together``."""
        shallow = all(item.last_step < SHALLOW for item in group)
        if len(group) < _WORTH_IT and (group[0].from_step is None or (len(group) == 1 and shallow)):
            return [partial(self._alone, item) for item in group]
        return [partial(together, key, group)]

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

    def _in_bulk(self, key: str, items: Sequence[Wanted], api: MlflowApi) -> Iterator[HistoryChunk]:
        found = self._bulk.ask(api, key, items) if self._bulk.offered else None
        if found is None:
            groups = list(self._groups(items))
            items, found = [item for item in items if not self._is_small(item)], {}
            for _, group in groups:
                yield from self._together(key, group, api)
        yield from self._found_or_alone(key, items, found, api)

    def _found_or_alone(
        self, key: str, items: Sequence[Wanted], found: Records, api: MlflowApi
    ) -> Iterator[HistoryChunk]:
        """The series whose points were found, whole; the others one by one."""
        for item in items:
            if points := found.get(item.run_id):
                yield HistoryChunk(item.run_id, key, self._points(item, points), complete=True)
            else:
                yield from self._alone(item, api)

    def _together(self, key: str, items: Sequence[Wanted], api: MlflowApi) -> Iterator[HistoryChunk]:
        bounds = None
        if items[0].from_step is not None:
            bounds = (min(i.from_step or 0 for i in items), max(i.last_step for i in items))
        try:
            found = self._interval(api, key, [item.run_id for item in items], bounds)
        except SourceResponseError:  # one of the runs is gone, but it does not say which; or it is no answer
            found = {}
        except PassingError as error:
            if error.status != _INTERNAL_ERROR:
                raise
            found = {}  # one of the runs holds what MLflow cannot read itself
        except RefusalError as error:
            if error.status in (401, 403):
                raise
            if error.status in (404, 405, 501):
                self._lacks_interval()
            found = {}
        yield from self._found_or_alone(key, items, found, api)

    def _lacks_interval(self) -> None:
        if self._has_interval:
            self._has_interval = False
            _log.info("MLflow has no get-history-bulk-interval endpoint; reading histories one by one (slower)")

    def _interval(self, api: MlflowApi, key: str, run_ids: Sequence[str], bounds: tuple[int, int] | None) -> Records:
        """All points of each run within the bounds; runs of which that is not certain are left out."""
        if bounds is not None and bounds[1] - bounds[0] >= _SAMPLED_FROM:
            return self._halves(api, key, run_ids, bounds)
        fields: dict[str, Any] = {"run_ids": run_ids, "metric_key": key, "max_results": _SAMPLED_FROM}
        if bounds is not None:
            fields |= {"start_step": bounds[0], "end_step": bounds[1]}
        answer = records(api.call("GET", "metrics/get-history-bulk-interval", fields), "metrics")
        found = by_run(answer, key, run_ids, self._on_skipped)
        doubtful = _doubtful(found)
        whole = {run_id: points for run_id, points in found.items() if run_id not in doubtful}
        if doubtful and bounds is not None and bounds[0] < bounds[1]:
            whole |= self._halves(api, key, doubtful, bounds)
        return whole

    def _halves(self, api: MlflowApi, key: str, run_ids: Sequence[str], bounds: tuple[int, int]) -> Records:
        low, high = bounds
        middle = (low + high) // 2
        lower = self._interval(api, key, run_ids, (low, middle))
        upper = self._interval(api, key, [r for r in run_ids if r in lower], (middle + 1, high)) if lower else {}
        return {run_id: lower[run_id] + points for run_id, points in upper.items()}

    def _alone(self, item: Wanted, api: MlflowApi) -> Iterator[HistoryChunk]:
        """All of one series. One that the server fails at (HTTP 500) has no end yet: it is asked for again later."""
        what = f"the history of metric '{shown(item.key)}' of run {shown(item.run_id)}"
        try:
            yield from self._pages(item, api)
        except MissingItemError:
            yield HistoryChunk(item.run_id, item.key, (), complete=True, missing=True)
        except (SourceResponseError, RefusalError) as error:
            if isinstance(error, RefusalError) and error.status != _BAD_REQUEST:
                raise
            self._on_skipped(what, str(error))
            yield HistoryChunk(item.run_id, item.key, (), complete=True)
        except PassingError as error:
            self._failures += 1
            if error.status != _INTERNAL_ERROR or self._failures >= _FAILURES:
                raise
            self._on_skipped(what, str(error))
        else:
            self._failures = 0

    def _pages(self, item: Wanted, api: MlflowApi) -> Iterator[HistoryChunk]:
        fields = {"run_id": item.run_id, "metric_key": item.key, "max_results": self._page}
        first = True
        for answer in api.pages("GET", "metrics/get-history", fields):
            complete = not next_page_token(answer, "MLflow")
            found = records(answer, "metrics")
            if first and complete and not found:
                # MLflow gives a run that does not exist an empty history: ask.
                api.call("GET", "runs/get", {"run_id": item.run_id})
            yield HistoryChunk(item.run_id, item.key, self._points(item, found), complete)
            first = False

    def _points(self, item: Wanted, found: Iterable[Any]) -> Sequence[Point]:
        what = f"a point of run {shown(item.run_id)}"
        points: list[Point] = []
        for point in decode.readable(decode.point, found, what, self._on_skipped):
            if point.key == item.key:
                points.append(point)
            else:
                self._on_skipped(what, f"metric '{shown(point.key)}': it came in place of '{shown(item.key)}'")
        return points


def _expected(item: Wanted) -> int:
    """How many points are wanted, if there is one for each step."""
    return max(1, item.last_step - (item.from_step or 0) + 1)


def _doubtful(found: Mapping[str, Sequence[Any]]) -> list[str]:
    """The runs whose points may have been sampled."""
    steps = {step_of(record) for points in found.values() for record in points}
    many = len(steps) >= _SAMPLED_FROM // 2 and max(steps) - min(steps) >= _SAMPLED_FROM
    return [run_id for run_id, points in found.items() if many or len(points) >= _SAMPLED_FROM]
