"""Questions about runs have the answer that MLflow gives, whether its server or its store is asked."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import QuestionError, SourceError
from mlflow_monitoring_exporter.core.values import Run, RunStatus
from mlflow_monitoring_exporter.source.open import open_run_reader
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.search import Order, Parts, RunReader, Search
from mlflow_monitoring_exporter.source.search_filter import parse
from tests.parts.mlflow_server import MlflowServer
from tests.source.furnished import BULK_RUNS, HINTS, LONG_HISTORY, ODD_KEYS, Furnished

FILTERS = [
    "",
    "metrics.loss < 0.21",
    "metrics.loss <= 0.2 and attributes.status = 'FINISHED'",
    "metric.loss != 0.2",
    "metrics.`broken` = 0",
    "metrics.broken != 0",
    "metrics.`zero and nan` >= 0",
    "metrics.exploded > 1e300",
    "metrics.collapsed < -1e300",
    'metrics."val/acc" >= 0',
    "metrics.`train loss/épocha 1` > 1",
    "params.layers = '3'",
    "params.layers != '3'",
    "params.`learning rate` LIKE '0.1%'",
    "params.empty = ''",
    "params.layers IS NULL",
    "param.layers is not null",
    "tags.project = 'FINISHED'",
    "tags.project = 'finished'",
    "tags.project != 'FINISHED'",
    "tags.project LIKE 'F%'",
    "tags.project LIKE 'f%'",
    "tags.project ILIKE 'f%'",
    "tags.note IS NULL and attributes.status != 'FINISHED'",
    "run_name = 'FINISHED'",
    "attributes.run_name LIKE '%E%'",
    "`run name` ILIKE '%e%'",
    "run_id IN ('00000000000000000000000000000001', 'none')",
    "attributes.run_id NOT IN ('00000000000000000000000000000001')",
    "start_time > 1003",
    "created >= 1003 AND attr.end_time < 9006",
    "run.run_id LIKE '0000%1'",
    "dataset.name = 'Iris'",
    "datasets.name LIKE 'i%'",
    "datasets.name LIKE 'w%'",
    "dataset.digest = 'wine1'",
    "dataset.context = 'training'",
    "dataset.name IN ('Iris', 'x')",
]


def readers(*uris: str) -> Iterator[RunReader]:
    for uri in uris:
        reader = open_run_reader(MlflowConfig(tracking_uri=uri), stop=threading.Event())
        yield reader
        reader.close()


@pytest.fixture
def rest_runs(tracking_server: MlflowServer, furnished: Furnished) -> Iterator[RunReader]:
    yield from readers(tracking_server.url)


@pytest.fixture
def sqlite_runs(tracking_server: MlflowServer, furnished: Furnished) -> Iterator[RunReader]:
    yield from readers(tracking_server.store_uri)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def store_runs(
    request: pytest.FixtureRequest, tracking_server: MlflowServer, furnished: Furnished
) -> Iterator[RunReader]:
    is_copied = request.param != "sqlite"
    yield from readers(request.getfixturevalue(f"{request.param}_url") if is_copied else tracking_server.store_uri)


@pytest.fixture(params=["rest", "sqlite"])
def runs(request: pytest.FixtureRequest, tracking_server: MlflowServer, furnished: Furnished) -> Iterator[RunReader]:
    yield from readers(tracking_server.url if request.param == "rest" else tracking_server.store_uri)


def described(run: Run) -> str:
    """All of a run, in whatever order its records come; NaN equals NaN."""
    return repr(
        replace(
            run,
            tags=dict(sorted(run.tags.items())),
            params=dict(sorted(run.params.items())),
            latest=tuple(sorted(run.latest, key=lambda point: point.key)),
        )
    )


def found(reader: RunReader, search: Search) -> list[str]:
    return [described(run) for run in reader.runs(search)]


def test_every_filter_finds_what_mlflow_finds(
    rest_runs: RunReader, store_runs: RunReader, furnished: Furnished
) -> None:
    ids = [furnished.experiments["main"], furnished.experiments["old"]]
    met = set()
    for where in FILTERS:
        search = Search(ids, where)
        expected = found(rest_runs, search)
        assert found(store_runs, search) == expected, where
        met.add(len(expected))
    assert len(met) > 4  # and not everything or nothing each time


def test_best_and_newest_come_first_and_no_more_than_asked_for(
    rest_runs: RunReader, store_runs: RunReader, furnished: Furnished
) -> None:
    ids = furnished.all_ids
    for descending in (True, False):
        for limit in (1, 7):
            search = Search(ids, "metrics.loss > 3", Order("loss", descending=descending), limit)
            assert len(expected := found(rest_runs, search)) == limit
            assert found(store_runs, search) == expected
    assert found(store_runs, Search(ids, limit=5)) == found(rest_runs, Search(ids, limit=5))
    first = next(rest_runs.runs(Search(ids, order=Order("loss", descending=True), limit=1)))
    assert first.run_id == f"{BULK_RUNS:032x}"


def test_what_is_not_finite_is_never_best(runs: RunReader, furnished: Furnished) -> None:
    for key in ("broken", "zero and nan", "exploded", "collapsed"):
        for descending in (True, False):
            order = Order(key, descending=descending)
            assert not [run for run in runs.runs(Search(furnished.all_ids, order=order)) if key != "zero and nan"]


def test_all_runs_come_page_by_page(runs: RunReader, furnished: Furnished) -> None:
    search = Search([furnished.bulk], order=Order("loss", descending=False))
    assert [run.run_id for run in runs.runs(search)] == [f"{n:032x}" for n in range(1, BULK_RUNS + 1)]


@given(
    limit=st.integers(1, 20),
    order=st.none() | st.builds(Order, st.sampled_from(["loss", "late", *ODD_KEYS]), st.booleans()),
    parts=st.lists(st.sampled_from(FILTERS[1:]), max_size=3),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_store_and_server_say_the_same(
    rest_runs: RunReader,
    sqlite_runs: RunReader,
    furnished: Furnished,
    *,
    limit: int,
    order: Order | None,
    parts: list[str],
) -> None:
    search = Search(furnished.all_ids, " AND ".join(parts), order, limit)
    assert found(sqlite_runs, search) == found(rest_runs, search)


def test_only_what_is_needed_of_a_run_is_read(store_runs: RunReader, furnished: Furnished) -> None:
    parts = Parts(metrics=frozenset({"late"}), params=frozenset(), tags=frozenset({"project"}))
    by_id = {run.run_id: run for run in store_runs.runs(Search([furnished.experiments["main"]]), parts)}
    running = by_id[furnished.runs["RUNNING"]]
    assert [point.key for point in running.latest] == ["late"]
    assert (running.params, running.tags) == ({}, {"project": "RUNNING"})


def test_values_of_one_metric(rest_runs: RunReader, store_runs: RunReader, furnished: Furnished) -> None:
    for key in ("loss", "broken", "exploded", "late"):
        search = Search([furnished.experiments["main"]])
        expected = sorted(rest_runs.values(search, key))
        assert repr(sorted(store_runs.values(search, key))) == repr(expected)
    broken = {value.run_id: value.value for value in store_runs.values(search, "broken")}
    assert math.isnan(broken.pop(furnished.runs["RUNNING"]) or 0)
    assert set(broken.values()) == {None}


def test_experiments_come_with_tags_and_where_it_is_cheap_with_counts(
    rest_runs: RunReader, store_runs: RunReader, furnished: Furnished
) -> None:
    there = {e.experiment_id: e for e in store_runs.experiments()}
    assert [(e.experiment_id, e.name, e.tags, e.created_ms) for e in rest_runs.experiments()] == [
        (e.experiment_id, e.name, e.tags, e.created_ms) for e in there.values()
    ]
    main = there[furnished.experiments["main"]]
    assert main.tags == {**HINTS, "mlflow.note.content": "long"}
    assert main.runs == {
        RunStatus.RUNNING: 2,
        RunStatus.SCHEDULED: 1,
        RunStatus.FINISHED: 1,
        RunStatus.FAILED: 1,
        RunStatus.KILLED: 1,
    }
    assert main.last_ms == 9_004
    assert there[furnished.bulk].runs == {RunStatus.FINISHED: BULK_RUNS}
    assert there[furnished.experiments["empty"]].runs == {}
    assert there[furnished.experiments["empty"]].last_ms is None


def test_keys_histories_and_models(runs: RunReader, furnished: Furnished) -> None:
    assert {*ODD_KEYS, "loss", "x"} <= {*runs.keys([furnished.experiments["main"]])}
    wanted = [Wanted(furnished.runs["FINISHED"], "long", None, LONG_HISTORY)]
    assert sum(len(chunk.points) for chunk in runs.histories(wanted)) == LONG_HISTORY
    assert next(version.aliases for version in runs.registry()) == ("blue", "champion")


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("metrics.loss << 1", "takes a number"),
        ("metrics.loss < 'a'", "takes a number"),
        ("params.x = 3", "takes text in quotes"),
        ("params.x < '3'", "cannot be compared by <"),
        ("metrics.loss < 1 or metrics.loss > 2", "AND only"),
        ("metrics.loss", "is missing"),
        ("weights.x = '1'", "none of metrics, params, tags"),
        ("attributes.colour = 'red'", "no attribute colour"),
        ("colour = 'red'", "no attribute colour"),
        ("dataset.size = '1'", "no dataset size"),
        ("run_id IN 'a'", "within brackets"),
        ("run_id IN ('a'", "within brackets"),
        ("status IN ('FAILED')", "cannot be compared by IN"),
        ("metrics.loss < 1 and", "is missing"),
        ("metrics.val/loss < 1", "cannot be read"),
        ("§", "cannot be read from '§' on"),
    ],
)
def test_what_is_no_filter_is_told_from_where_on(runs: RunReader, furnished: Furnished, where: str, why: str) -> None:
    with pytest.raises(QuestionError, match="the filter") as error:
        list(runs.runs(Search(furnished.all_ids, where)))
    assert why in str(error.value)


@given(st.text(max_size=40) | st.text("metrics.loss<>='\"`()and 1IN,", max_size=30))
def test_any_text_is_a_filter_or_refused(where: str) -> None:
    with contextlib.suppress(QuestionError):
        parse(where)


def test_an_absent_server_and_an_absent_store_are_told_apart(tmp_path: object) -> None:
    for uri in ("http://127.0.0.1:9", f"sqlite:///{tmp_path}/none.db"):
        reader = open_run_reader(MlflowConfig(tracking_uri=uri), stop=threading.Event())
        with pytest.raises(SourceError):
            reader.experiments()
        reader.close()


def ids_of(reader: RunReader, ids: Sequence[str]) -> list[str]:
    return [run.run_id for run in reader.runs(Search(ids))]


def test_more_experiments_than_a_database_binds(store_runs: RunReader, furnished: Furnished) -> None:
    many = [*furnished.all_ids, *(str(number) for number in range(1000, 70_000))]
    assert ids_of(store_runs, many) == ids_of(store_runs, furnished.all_ids)
    assert len(list(store_runs.values(Search(many), "loss"))) > BULK_RUNS


def test_no_experiment_has_no_runs(runs: RunReader) -> None:
    assert ids_of(runs, []) == []
