"""Histories over REST: everything, whatever the server samples, and few requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.source.decode import ignore_skipped
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.rest import bulk_history
from mlflow_monitoring_exporter.source.rest import history as rest_history
from mlflow_monitoring_exporter.source.rest.answer import MissingItemError, PassingError, RefusalError
from mlflow_monitoring_exporter.source.rest.history import RestHistory

_LIMIT = 6
_CUT_AT = 20
#: (step, time) of the points of one series
_Points = list[tuple[int, int]]


class Api:
    """MLflow's three calls over a dictionary, with limits of 6 points for 2500, and of 20 for 25,000.

    ``bulk`` False is a server without get-history-bulk, an error one whose answer it is. ``cut_at`` is where that call
    cuts its answer.
    """

    def __init__(
        self,
        series: Mapping[str, _Points],
        *,
        by_rows: bool = True,
        refusal: Exception | None = None,
        bulk: bool | Exception = False,
        cut_at: int = _CUT_AT,
    ) -> None:
        self.bulk = RefusalError("no such path", status=404) if bulk is False else bulk
        self.cut_at = cut_at
        self.bulks: list[Sequence[str]] = []
        self.series = series
        self.by_rows = by_rows
        self.refusal = refusal
        self.intervals: list[Sequence[str]] = []
        self.alone: list[str] = []

    def call(self, method: str, path: str, fields: Mapping[str, Any], *, root: str = "api") -> Mapping[str, Any]:
        if path == "metrics/get-history-bulk":
            assert (method, root) == ("GET", "ajax-api")
            return self._in_bulk(fields["run_id"])
        assert root == "api"
        if path == "runs/get":
            if fields["run_id"] not in self.series:
                raise MissingItemError("gone")
            return {}
        assert (method, path) == ("GET", "metrics/get-history-bulk-interval")
        self.intervals.append(fields["run_ids"])
        if self.refusal:
            raise self.refusal
        if not set(fields["run_ids"]) <= self.series.keys():
            raise MissingItemError("one of them is gone")
        low, high = fields.get("start_step", -(2**60)), fields.get("end_step", 2**60)
        found = {r: sorted(p for p in self.series[r] if low <= p[0] <= high) for r in fields["run_ids"]}
        sample = self._rows if self.by_rows else self._steps
        return {"metrics": [record(r, *p) for r, points in sample(found).items() for p in points]}

    def _in_bulk(self, run_ids: Sequence[str]) -> Mapping[str, Any]:
        """Sorted by run, then by time; cut without a word; of a run that is not there nothing."""
        self.bulks.append(run_ids)
        if isinstance(self.bulk, Exception):
            raise self.bulk
        found = [
            record(run_id, *point)
            for run_id in sorted(run_ids)
            for point in sorted(self.series.get(run_id, []), key=lambda point: (point[1], point[0]))
        ]
        return {"metrics": found[: self.cut_at]}

    def pages(self, method: str, path: str, fields: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        assert (method, path) == ("GET", "metrics/get-history")
        self.alone.append(fields["run_id"])
        points = sorted(self.series.get(fields["run_id"], []))
        for start in range(0, max(1, len(points)), 4):
            token = {"next_page_token": "t"} if start + 4 < len(points) else {}
            yield {"metrics": [record(fields["run_id"], *p) for p in points[start : start + 4]], **token}

    @staticmethod
    def _rows(found: Mapping[str, _Points]) -> dict[str, _Points]:
        """As MLflow does now: the first of each of 6 equal parts, and the last."""
        sampled = {}
        for run_id, points in found.items():
            size = len(points)
            firsts = [points[-(-n * size // _LIMIT)] for n in range(_LIMIT)] if size > _LIMIT else points
            sampled[run_id] = sorted({*firsts, *points[-1:]})
        return sampled

    @staticmethod
    def _steps(found: Mapping[str, _Points]) -> dict[str, _Points]:
        """As it did before: 6 of the distinct steps of all runs, and each run's first and last; 6 rows of each run."""
        steps = sorted({step for points in found.values() for step, _ in points})
        if len(steps) > _LIMIT:
            interval = len(steps) / _LIMIT
            ends = {points[at][0] for points in found.values() if points for at in (0, -1)}
            steps = sorted({steps[int(n * interval)] for n in range(_LIMIT)} | ends)
        return {run_id: [p for p in points if p[0] in steps][:_LIMIT] for run_id, points in found.items()}


def record(run_id: str, step: int, time: int) -> dict[str, Any]:
    return {"run_id": run_id, "key": "loss", "value": 1.0, "timestamp": str(time), "step": str(step)}


def read(api: Api, wanted: Sequence[Wanted]) -> dict[str, _Points]:
    """The points of each series; each must end exactly once, and hold no point twice."""
    history = RestHistory([api, api], ignore_skipped)  # type: ignore[list-item]
    found: dict[str, _Points] = {}
    ended = []
    for chunk in history.read(wanted):
        found.setdefault(chunk.run_id, []).extend((p.step, p.timestamp_ms) for p in chunk.points)
        ended += [chunk.run_id] if chunk.complete else []
    assert sorted(ended) == sorted(item.run_id for item in wanted)
    assert all(len(points) == len(set(points)) for points in found.values())
    return found


@contextmanager
def small_limits() -> Iterator[None]:
    before = rest_history._SAMPLED_FROM, rest_history._POINTS, bulk_history._CUT_AT
    rest_history._SAMPLED_FROM, rest_history._POINTS, bulk_history._CUT_AT = _LIMIT, 4 * _LIMIT, _CUT_AT
    try:
        yield
    finally:
        rest_history._SAMPLED_FROM, rest_history._POINTS, bulk_history._CUT_AT = before


points = st.lists(st.tuples(st.integers(-4, 40), st.integers(0, 3)), min_size=1, max_size=60, unique=True)


_NO_BULK: Sequence[bool | Exception] = (False, PassingError("it failed", status=500), RefusalError("no", status=403))


@pytest.mark.parametrize("sampled", ["by rows", "by steps"])
@given(
    series=st.dictionaries(st.sampled_from("abcdef"), points, min_size=1),
    data=st.data(),
    bulk=st.just(True) | st.sampled_from(_NO_BULK),
    cut_at=st.sampled_from([_CUT_AT, _CUT_AT, _CUT_AT - 3]),
)
@settings(max_examples=150, deadline=None)
def test_no_point_is_missed_whatever_is_sampled_or_cut(
    series: dict[str, _Points], data: st.DataObject, sampled: str, bulk: bool | Exception, cut_at: int
) -> None:
    # A server that cuts sooner than MLflow's does is found out where the latest point of a series is missing.
    if cut_at < _CUT_AT:
        series = {
            run_id: sorted({step: (step, step + 4) for step, _ in there}.values()) for run_id, there in series.items()
        }
    with small_limits():
        wanted = []
        for run_id, there in series.items():
            last = max(step for step, _ in there)
            from_step = data.draw(st.none() | st.integers(-4, last))
            wanted.append(Wanted(run_id, "loss", from_step, last))
        found = read(Api(series, by_rows=sampled == "by rows", bulk=bulk, cut_at=cut_at), wanted)
    for item in wanted:
        expected = {p for p in series[item.run_id] if item.from_step is None or p[0] >= item.from_step}
        assert expected <= set(found[item.run_id]) <= set(series[item.run_id])


def test_steps_that_were_sampled_over_several_runs_are_noticed() -> None:
    """Neither run has as many points as the limit, together they have more steps than it."""
    series = {"a": [(step, 0) for step in range(-4, 5, 2)], "b": [(step, 0) for step in range(-3, 6, 2)]}
    with small_limits():
        found = read(Api(series, by_rows=False), [Wanted("a", "loss", None, 4), Wanted("b", "loss", None, 5)])
    assert {run_id: sorted(points) for run_id, points in found.items()} == series


def test_a_hundred_runs_share_a_request() -> None:
    series = {f"run{n}": [(step, 0) for step in range(10)] for n in range(250)}
    api = Api(series, by_rows=True)
    wanted = [Wanted(run_id, "loss", None, 9) for run_id in series]
    api._rows = dict  # type: ignore[assignment,method-assign]
    assert {r: sorted(p) for r, p in read(api, wanted).items()} == series
    assert [len(runs) for runs in api.intervals] == [100, 100, 50]
    assert api.alone == []


def test_a_server_without_the_call_is_asked_for_it_once() -> None:
    series = {f"run{n}": [(0, 0)] for n in range(3)}
    api = Api(series, refusal=RefusalError("no such path", status=404))
    history = RestHistory([api], ignore_skipped)  # type: ignore[list-item]
    for _ in range(2):
        chunks = list(history.read([Wanted(run_id, "loss", None, 0) for run_id in series]))
        assert [len(chunk.points) for chunk in chunks] == [1, 1, 1]
    assert len(api.intervals) == 1


def test_a_run_that_is_gone_costs_the_others_nothing() -> None:
    api = Api({"a": [(0, 0)], "c": [(0, 0)]})
    history = RestHistory([api], ignore_skipped)  # type: ignore[list-item]
    chunks = {c.run_id: c for c in history.read([Wanted(r, "loss", None, 0) for r in "abc"])}
    assert (len(chunks["a"].points), len(chunks["c"].points)) == (1, 1)
    assert chunks["b"].missing


@pytest.mark.parametrize(
    ("runs", "from_step", "last", "together"),
    [
        (1, None, 9, False),
        (2, None, 9, False),
        (3, None, 9, True),
        (1, 5, 9, False),
        (1, 95, 99, True),
        (2, 5, 9, True),
    ],
)
def test_a_key_that_few_runs_have_is_asked_for_by_the_cheaper_call(
    runs: int, from_step: int | None, last: int, together: bool
) -> None:
    series = {f"run{n}": [(step, 0) for step in range(last + 1)] for n in range(runs)}
    api = Api(series)
    found = read(api, [Wanted(run_id, "loss", from_step, last) for run_id in series])
    assert bool(api.intervals) == together
    assert bool(api.alone) != together
    assert all((last, 0) in points for points in found.values())


def _many(runs: int, steps: Sequence[int]) -> dict[str, _Points]:
    return {f"run{n:03}": [(step, 0) for step in steps] for n in range(runs)}


def _all_of(series: Mapping[str, _Points]) -> list[Wanted]:
    return [Wanted(run_id, "loss", None, max(step for step, _ in there)) for run_id, there in series.items()]


def test_whole_histories_of_a_hundred_runs_are_one_request_where_it_is_offered() -> None:
    series = _many(250, range(10))
    api = Api(series, bulk=True, cut_at=25_000)
    assert {r: sorted(p) for r, p in read(api, _all_of(series)).items()} == series
    assert [len(runs) for runs in api.bulks] == [100, 100, 50]
    assert (api.alone, api.intervals) == ([], [])


def test_sparse_steps_are_no_reason_for_more_requests() -> None:
    """What a run has is at most guessed by its last step until something was read."""
    series = _many(2100, [90_000])
    api = Api(series, bulk=True, cut_at=25_000)
    history = RestHistory([api], ignore_skipped)  # type: ignore[list-item]
    list(history.read([Wanted(run_id, "loss", None, 20) for run_id in list(series)[:50]]))
    api.bulks.clear()
    found = list(history.read(_all_of(series)))
    assert (len(found), len(api.bulks), api.alone) == (2100, 21, [])


def test_an_answer_that_may_be_cut_is_asked_for_in_halves() -> None:
    series = _many(8, range(5))
    with small_limits():
        api = Api(series, bulk=True)
        wanted = [Wanted(run_id, "loss", None, 4) for run_id in series]
        answer = bulk_history.BulkHistory(ignore_skipped).ask(api, "loss", wanted)  # type: ignore[arg-type]
    assert answer is not None
    assert {run_id: len(there) for run_id, there in answer.items()} == dict.fromkeys(series, 5)
    assert [len(runs) for runs in api.bulks] == [8, 4, 2, 2, 4, 2, 2]


@pytest.mark.parametrize("refusal", _NO_BULK[1:])
def test_a_server_that_does_not_offer_it_is_not_asked_again_and_again(refusal: Exception) -> None:
    series = _many(5, range(3))
    api = Api(series, bulk=refusal)
    history = RestHistory([api], ignore_skipped)  # type: ignore[list-item]
    for _ in range(10):
        assert [len(chunk.points) for chunk in history.read(_all_of(series))] == [3] * 5
    assert len(api.bulks) == (3 if isinstance(refusal, PassingError) else 1)
    assert len(api.intervals) == 10


def test_a_server_that_is_away_is_away_for_every_call() -> None:
    api = Api(_many(5, range(3)), bulk=PassingError("away", status=503))
    with pytest.raises(PassingError, match="away"):
        read(api, _all_of(api.series))
