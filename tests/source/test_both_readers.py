"""Whatever MLflow holds, its server and its store tell the same story."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.values import ModelVersion, Point, Run, RunStatus
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Source, Wanted
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from mlflow_monitoring_exporter.transform.ranking import newest_first
from tests.parts.mlflow_server import MlflowServer
from tests.source.furnished import ACTIVITY, BULK_RUNS, HINTS, LONG_HISTORY, ODD_KEYS, ODD_NAMES, STEPLESS, Furnished


def runs_by_id(source: Source, experiment_ids: Sequence[str], limit: int = 1000) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for page in source.runs(experiment_ids, limit=limit):
        assert len(page.runs) <= limit
        for run in page.runs:
            assert run.run_id not in found
            found[run.run_id] = run
    return found


def comparable(points: Sequence[Point]) -> list[tuple[str, int, int, str]]:
    return sorted((p.key, p.step, p.timestamp_ms, repr(p.value)) for p in points)


def whole(chunks: Sequence[HistoryChunk]) -> dict[tuple[str, str], list[tuple[str, int, int, str]]]:
    """The points of each series; every series must end exactly once."""
    ended = [(c.run_id, c.key) for c in chunks if c.complete]
    assert sorted(ended) == sorted(set(ended))
    return {(r, k): comparable([p for c in chunks if (c.run_id, c.key) == (r, k) for p in c.points]) for r, k in ended}


def in_order(run: Run) -> str:
    """All of a run; a database may give its tags in any order."""
    return repr(replace(run, tags=dict(sorted(run.tags.items()))))


def newest(source: Source, ids: Sequence[str], limit: int) -> list[str]:
    return newest_first(ids, source.activity(ids, limit), limit)


def all_of(*series: tuple[str, str], last_step: int = 4) -> list[Wanted]:
    return [Wanted(run_id, key, None, last_step) for run_id, key in series]


@pytest.fixture(params=["rest", "sql", "postgresql", "mysql"])
def source(request: pytest.FixtureRequest) -> Source:
    chosen: Source = request.getfixturevalue(request.param)
    return chosen


def test_active_experiments_are_listed_whatever_their_name(source: Source, furnished: Furnished) -> None:
    names = {e.experiment_id: e.name for e in source.experiments()}
    assert names == {"0": "Default", **{i: name for name, i in furnished.experiments.items()}}
    assert set(ODD_NAMES) < set(names.values())


def test_tags_that_say_which_way_is_better_come_with_an_experiment_and_no_others_do(
    source: Source, furnished: Furnished
) -> None:
    tags = {e.experiment_id: dict(e.tags) for e in source.experiments() if e.tags}
    assert tags == {furnished.experiments["main"]: HINTS}


def test_all_list_experiments_in_the_same_order(rest: RestSource, sql: SqlSource) -> None:
    assert list(rest.experiments()) == list(sql.experiments())


def test_all_read_every_run_alike(rest: RestSource, source: Source, furnished: Furnished) -> None:
    by_rest, by_sql = (runs_by_id(s, furnished.all_ids) for s in (rest, source))
    assert by_rest.keys() == by_sql.keys()
    for run_id, run in by_rest.items():
        assert in_order(run) == in_order(by_sql[run_id])
    assert len(by_rest) == BULK_RUNS + 6 + sum(map(len, ACTIVITY.values()))


def test_runs_of_every_status_come_and_deleted_ones_do_not(source: Source, furnished: Furnished) -> None:
    found = runs_by_id(source, [furnished.experiments["main"]])
    assert {found[furnished.runs[s]].status for s in RunStatus} == set(RunStatus)
    assert furnished.runs["deleted"] not in found
    running = found[furnished.runs["RUNNING"]]
    assert (running.start_ms, running.end_ms, running.name) == (1_000, None, "RUNNING")
    assert running.tags["note"] == "ü\nand 🚀"
    assert found[furnished.runs["KILLED"]].end_ms == 9_004


def test_latest_points_are_mlflows_and_nonfinite_ones_are_themselves(source: Source, furnished: Furnished) -> None:
    run = runs_by_id(source, [furnished.experiments["main"]])[furnished.runs["RUNNING"]]
    latest = {p.key: p for p in run.latest}
    assert latest["late"] == Point("late", 7, 6_000, 7.0)
    assert math.isnan(latest["broken"].value)
    assert latest["exploded"].value == math.inf
    assert latest["collapsed"].value == -math.inf
    assert latest["backwards"] == Point("backwards", -3, 5_000, -1e-300)
    assert {key: latest[key].value for key in ODD_KEYS} == {key: at / 3 for at, key in enumerate(ODD_KEYS)}


def test_all_read_every_point_alike(rest: RestSource, source: Source, furnished: Furnished) -> None:
    ids = [furnished.experiments["main"]]
    series = [(run.run_id, p.key) for run in runs_by_id(rest, ids).values() for p in run.latest]
    by_rest, by_sql = (whole(list(s.histories(all_of(*series)))) for s in (rest, source))
    assert by_rest == by_sql
    assert by_rest.keys() == set(series)
    running = furnished.runs["RUNNING"]
    assert by_rest[running, "broken"] == [("broken", 0, 5_000, "1.5"), ("broken", 1, 5_001, "nan")]
    assert by_rest[running, "zero and nan"] == [("zero and nan", 0, 5_000, v) for v in ("0.0", "nan")]
    assert by_rest[running, "exploded"] == [("exploded", 0, 5_000, "inf")]


def test_points_without_steps_all_come(source: Source, furnished: Furnished) -> None:
    chunks = list(source.histories(all_of((furnished.runs["stepless"], "x"), last_step=0)))
    points = [p for c in chunks for p in c.points]
    assert sorted(p.timestamp_ms for p in points) == [5_000 + n for n in range(STEPLESS)]


def test_a_long_history_comes_in_bounded_chunks(source: Source, furnished: Furnished) -> None:
    chunks = list(source.histories(all_of((furnished.runs["FINISHED"], "long"), (furnished.runs["FINISHED"], "loss"))))
    assert max(len(c.points) for c in chunks) <= 25_000
    found = whole(chunks)
    assert found[furnished.runs["FINISHED"], "long"] == sorted(
        ("long", n // 2, 1_000 + n, repr(n / 7)) for n in range(LONG_HISTORY)
    )
    assert len(found[furnished.runs["FINISHED"], "loss"]) == 5


def test_a_run_that_disappeared_is_reported_missing(source: Source, furnished: Furnished) -> None:
    gone = "f" * 32
    chunks = list(source.histories(all_of((gone, "loss"), (furnished.runs["FAILED"], "loss"))))
    assert chunks[0] == HistoryChunk(gone, "loss", (), complete=True, missing=True)
    assert len(chunks[1].points) == 5


def test_a_series_without_points_has_one_empty_chunk(source: Source, furnished: Furnished) -> None:
    chunks = list(source.histories(all_of((furnished.runs["FAILED"], "never logged"))))
    assert [(len(c.points), c.complete, c.missing) for c in chunks] == [(0, True, False)]


def test_the_registry_has_every_version_with_its_aliases_and_its_stage(source: Source, furnished: Furnished) -> None:
    versions = source.registry()
    assert list(versions) == [
        ModelVersion("churn", 1, furnished.runs["FINISHED"], "", ("blue", "champion")),
        ModelVersion("churn", 2, furnished.runs["FAILED"], "Production", ()),
        ModelVersion("churn", 3, furnished.runs["KILLED"], "", ()),
    ]
    for refresh in (True, False):
        assert source.registry(refresh=refresh) is versions, "the same object says that nothing changed"


@pytest.mark.parametrize("reader", ["server", "store"])
def test_only_parameters_that_are_asked_for_are_read(
    tracking_server: MlflowServer, furnished: Furnished, reader: str
) -> None:
    uri = tracking_server.url if reader == "server" else tracking_server.store_uri
    source = open_source(
        MlflowConfig(tracking_uri=uri), stop=threading.Event(), params=frozenset(["learning rate", "empty", "absent"])
    )
    found = runs_by_id(source, [furnished.experiments["main"]])
    source.close()
    assert found[furnished.runs["FINISHED"]].params == {"learning rate": "0.1 ü", "empty": ""}
    assert found[furnished.runs["FAILED"]].params == {}


def test_runs_can_be_asked_for_by_name(source: Source, furnished: Furnished) -> None:
    wanted = [furnished.runs["FINISHED"], furnished.runs["deleted"], "f" * 32]
    assert [run.run_id for run in source.named(furnished.all_ids, wanted)] == wanted[:1]
    assert list(source.named(furnished.all_ids[1:2], wanted)) == []


@pytest.mark.parametrize("limit", range(1, 6))
def test_activity_is_the_newest_start_or_end(source: Source, furnished: Furnished, limit: int) -> None:
    order = ["long run that ended last", "running since lately", "many short ones", "old", "never ended"]
    ids = [furnished.experiments[name] for name in ACTIVITY]
    assert newest(source, ids, limit) == [furnished.experiments[name] for name in order[:limit]]


def test_experiments_without_runs_come_last(source: Source, furnished: Furnished) -> None:
    empty = [furnished.experiments[name] for name in ODD_NAMES]
    old = furnished.experiments["old"]
    assert newest(source, [*empty[:2], old, *empty[2:]], 3) == [old, *empty[:2]]


def test_no_experiments_have_no_runs(source: Source) -> None:
    assert list(source.runs([])) == []
    assert source.activity([], 10) == {}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_of_any_size_hold_the_same(
    tracking_server: MlflowServer, rest: RestSource, furnished: Furnished, size: int
) -> None:
    ids = [furnished.experiments[name] for name in ("main", *ACTIVITY)]
    config = MlflowConfig(tracking_uri=tracking_server.url)
    small_rest = RestSource(config, stop=threading.Event(), concurrency=3, history_page=size)
    small_sql = SqlSource(MlflowConfig(tracking_uri=tracking_server.store_uri), history_chunk=size)
    expected = runs_by_id(rest, ids)
    series = all_of(*((furnished.runs["RUNNING"], p.key) for p in expected[furnished.runs["RUNNING"]].latest))
    points = whole(list(rest.histories(series)))
    for source in (small_rest, small_sql):
        found = runs_by_id(source, ids, size)
        assert {i: repr(r) for i, r in found.items()} == {i: repr(r) for i, r in expected.items()}
        assert whole(list(source.histories(series))) == points
        source.close()


def test_a_run_deleted_between_two_pages_costs_no_other_run(
    tracking_server: MlflowServer, furnished: Furnished
) -> None:
    experiment_id = tracking_server.post("experiments/create", {"name": "shrinking"})["experiment_id"]
    ids = [
        tracking_server.post("runs/create", {"experiment_id": experiment_id, "start_time": 100 + n})["run"]["info"][
            "run_id"
        ]
        for n in range(6)
    ]
    config = MlflowConfig(tracking_uri=tracking_server.url)
    pages = RestSource(config, stop=threading.Event()).runs([experiment_id], limit=2)
    found = [run.run_id for run in next(pages).runs]
    for run_id in ids[:2]:
        tracking_server.post("runs/delete", {"run_id": run_id})
    found += [run.run_id for page in pages for run in page.runs]
    tracking_server.post("experiments/delete", {"experiment_id": experiment_id})
    assert found == ids


def test_both_name_their_server_without_secrets(tracking_server: MlflowServer) -> None:
    url = tracking_server.url.replace("http://", "http://ana:hunter2@")
    rest = RestSource(MlflowConfig(tracking_uri=f"{url}/", workspace="team"), stop=threading.Event())
    assert rest.server == f"{tracking_server.url}#team"
    sql = SqlSource(MlflowConfig(tracking_uri=tracking_server.store_uri))
    assert sql.server == tracking_server.store_uri


def test_a_check_of_a_working_mlflow_passes(source: Source) -> None:
    source.check()
