"""A first load whose points are queued with the runs gives the same as one whose points are read after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.core.values import Sample
from mlflow_monitoring_exporter.pipeline import direct_load, enqueue
from mlflow_monitoring_exporter.source.protocol import RunPage
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.transform.projection import SampleProjection
from tests.parts.scripted_mlflow import Mlflow
from tests.schedule.conftest import World

RUNS, KEYS = "abcd", ("loss", "acc", "system/cpu")
#: (run, key, steps), in the order in which they are logged; a run may be nested in another one.
Logged = list[tuple[str, str, list[int]]]

_logged = st.lists(
    st.tuples(st.sampled_from(RUNS), st.sampled_from(KEYS), st.lists(st.integers(0, 30), min_size=1, max_size=6)),
    max_size=8,
)
_parents = st.dictionaries(st.sampled_from(RUNS), st.sampled_from([*RUNS, "elsewhere"]), max_size=3)


@contextmanager
def world_of(*, near: bool) -> Iterator[World]:
    with TemporaryDirectory() as directory:
        database = Database(f"sqlite:///{Path(directory) / 'state.db'}")
        world = World(Mlflow(near=near), database, Outbox(database))
        world.views = {"some": SampleProjection(BatchExporterConfig.model_validate(_SOME))}
        yield world
        database.close()


_SOME: Any = {"type": "any", "select": {"metrics": {"exclude": ["system/*"]}}, "rename": {"acc": "accuracy"}}


def log(mlflow: Mlflow, logged: Logged, parents: dict[str, str]) -> None:
    for run_id, key, steps in logged:
        known = {point.step for point in mlflow.points.get(run_id, {}).get(key, [])}
        mlflow.log(run_id, key, *sorted(set(steps) - known))
        mlflow.touched.append((run_id, key, min(steps)))
        if run_id in parents and parents[run_id] != run_id:
            mlflow.tags[run_id] = {"mlflow.parentRunId": parents[run_id]}


def told(samples: Sequence[Sample]) -> list[tuple[Any, ...]]:
    """What platforms get, in any order of series."""
    return sorted((s.key, s.step, s.timestamp_ms, s.value, s.run.run_id, str(s.run)) for s in samples)


@given(st.tuples(_logged, _logged, _parents), st.booleans(), st.integers(1, 12), st.sampled_from([None, 55]))
@settings(deadline=None)
def test_both_ways_tell_the_same_each_point_once(
    logged: tuple[Logged, Logged, dict[str, str]], complete: bool, bound: int, since_ms: int | None
) -> None:
    first, then, parents = logged
    results = []
    for near in (False, True):
        with pytest.MonkeyPatch.context() as patched, world_of(near=near) as world:
            patched.setattr(direct_load, "_POINTS", bound)
            log(world.mlflow, first, parents)
            names = ("all", "some")
            world.outbox.register(
                names,
                since_ms=since_ms,
                selections={name: world.views.get(name, SampleProjection()).selection for name in names},
            )
            poller = world.poller(*names)
            reports = [poller.run(complete=complete)]
            batches = [told(world.samples(name)) for name in names]
            world.mlflow.touched.clear()
            log(world.mlflow, then, {})
            reports += [poller.run(complete=False), world.poller(*names, "later").run(complete=True)]
            batches += [told(world.samples(name)) for name in (*names, "later")]
            assert [len(batch) for batch in batches[:2]] == list(reports[0].enqueued.values())
            assert all(len({one[:5] for one in batch}) == len(batch) for batch in batches), "each point once"
            results.append((batches, [report.enqueued for report in reports], world.shown() if first else None))
    assert results[0] == results[1]


@pytest.fixture
def near(world: World) -> World:
    world.mlflow.near = True
    return world


def test_nothing_that_was_written_is_read_back(near: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for run_id in "abc":
        near.mlflow.log(run_id, "loss", *range(5))
    poller = near.poller("sink")
    monkeypatch.setattr("mlflow_monitoring_exporter.pipeline.enqueue.Enqueuer._read_page", None)
    report = poller.run(complete=False)
    assert (report.enqueued, report.series, sum(near.read)) == ({"sink": 15}, 3, 15)
    assert near.wakes == 3, "after each page"


def test_a_run_whose_parent_comes_later_waits_for_it(near: World) -> None:
    """Its samples name the outermost run above it."""
    for run_id in "abc":
        near.mlflow.log(run_id, "loss", 0)
    near.mlflow.tags |= {"a": {"mlflow.parentRunId": "c"}, "b": {"mlflow.parentRunId": "a"}}
    near.poller("sink").run(complete=False)
    assert {sample.run.run_id: sample.run.root_run_id for sample in near.samples("sink")} == dict.fromkeys("abc", "c")


def test_a_queue_without_room_takes_no_more_than_ever(near: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enqueue, "_POINTS", 1)
    near.max_bytes = 2000
    for run_id in "abcdefgh":
        near.mlflow.log(run_id, "loss", *range(20))
    poller = near.poller("sink")
    found: list[Sample] = []
    for _ in range(20):
        report = poller.run(complete=False)
        assert near.outbox.ledger(near.outbox.register(["sink"])["sink"]).queued_bytes <= 2 * near.max_bytes
        found += near.samples("sink")
        if not report.full:
            break
    assert len(told(found)) == len(set(told(found))) == 160


def test_a_history_that_cannot_be_read_keeps_no_run_from_being_shown(near: World) -> None:
    for run_id in "abc":
        near.mlflow.log(run_id, "loss", *range(5))
    near.mlflow.broken = "histories"
    poller = near.poller("sink")
    with capture_logs() as logs, pytest.raises(Exception, match="histories failed"):
        poller.run(complete=False)
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "histories cannot be read beside the runs; reading them afterwards"
    ]
    assert set(near.shown()) == {(run_id, "loss") for run_id in "abc"}
    near.mlflow.broken = ""
    poller.run(complete=False)
    assert len(near.samples("sink")) == 15


def test_a_load_that_is_cut_short_goes_on_and_queues_nothing_twice(near: World) -> None:
    for run_id in "abc":
        near.mlflow.log(run_id, "loss", *range(5))
    near.mlflow.broken = "runs"
    with pytest.raises(Exception, match="runs failed"):
        near.poller("sink").run(complete=False)
    assert len(near.samples("sink")) == 5
    near.mlflow.broken = ""
    near.poller("sink").run(complete=False)
    assert [sample.run.run_id for sample in near.samples("sink")] == ["b"] * 5 + ["c"] * 5
    near.poller("sink").run(complete=True)
    assert near.samples("sink") == []


def test_without_histories_the_latest_of_each_is_queued(near: World) -> None:
    near.mlflow.near = False  # not even over REST does it need to be read
    near.mlflow.log("a", "loss", *range(5))
    near.poller("sink", history=False).run(complete=False)
    assert (near.steps("sink"), near.mlflow.asked) == ([4], [])


def test_a_run_that_vanishes_meanwhile_is_looked_at_later(near: World) -> None:
    near.mlflow.log("a", "loss", 0)
    near.mlflow.vanished = {"a"}
    poller = near.poller("sink")
    poller.run(complete=False)
    near.mlflow.vanished = set()
    poller.run(complete=False)
    assert near.steps("sink") == [0]


def test_a_run_of_an_experiment_that_was_not_asked_for_is_none_of_it(
    near: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    near.mlflow.log("a", "loss", 0)
    near.mlflow.log("b", "loss", 1, experiment="3")
    monkeypatch.setattr(near.mlflow, "runs", lambda *_, **__: [RunPage([near.mlflow._run(i) for i in "ab"], None)])
    near.poller("sink").run(complete=False)
    assert near.steps("sink") == [0]
