"""Histories that take longer than a poll may: each series gets its turn, and a broken registry takes none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from mlflow_monitoring_exporter.core.errors import SourceResponseError, SourceUnavailableError
from mlflow_monitoring_exporter.core.values import ModelVersion
from mlflow_monitoring_exporter.pipeline import enqueue as queueing
from mlflow_monitoring_exporter.pipeline import model_registry as registry
from mlflow_monitoring_exporter.pipeline import poll
from tests.schedule.conftest import World

KEYS = [f"k{number}" for number in range(6)]


@pytest.fixture
def hurried(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Time is always up: a poll reads one series."""
    monkeypatch.setattr(poll, "_READING", 0.0)
    monkeypatch.setattr(queueing, "_POINTS", 1)
    return world


def test_a_run_whose_series_all_move_between_polls_keeps_no_other_waiting(hurried: World) -> None:
    for key in KEYS:
        hurried.mlflow.log("fast", key, 0)
    hurried.mlflow.log("slow", "loss", 0, 1, 2)
    poller = hurried.poller("sink")
    polls = 0
    queued: list[tuple[str, str]] = []
    while ("slow", "loss") not in queued:
        poller.run(complete=False)
        polls += 1
        queued += [(sample.run.run_id, sample.key) for sample in hurried.samples("sink")]
        for key in KEYS:
            hurried.mlflow.log("fast", key, polls)
        assert polls <= len(KEYS) + 2, "one turn"
    while {key for run_id, key in queued if run_id == "fast"} != set(KEYS):
        poller.run(complete=False)
        polls += 1
        queued += [(sample.run.run_id, sample.key) for sample in hurried.samples("sink")]
        assert polls <= 3 * len(KEYS), "nor does a series wait for its neighbours"


def test_a_turn_that_ends_begins_anew_and_every_point_is_queued_once(hurried: World) -> None:
    for key in KEYS:
        hurried.mlflow.log("a", key, 0, 1)
    poller = hurried.poller("sink")
    reports = [poller.run(complete=False)]
    while reports[-1].unfinished:
        reports.append(poller.run(complete=False))
    assert sum(report.enqueued["sink"] for report in reports) == 2 * len(KEYS)
    assert sorted({(sample.key, sample.step) for sample in hurried.samples("sink")}) == [
        (key, step) for key in KEYS for step in (0, 1)
    ]
    hurried.mlflow.log("a", KEYS[0], 2)
    assert poller.run(complete=False).enqueued == {"sink": 1}


def test_slow_answers_are_queued_before_all_of_them_have_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "_SECONDS", 0.0)
    for key in KEYS:
        world.mlflow.log("a", key, 0)
    world.poller("sink").run(complete=False)
    assert len(world.read) >= len(KEYS), "not all in one portion"


@pytest.mark.parametrize("error", [SourceResponseError("it repeats a page"), SourceUnavailableError("HTTP 503")])
def test_a_broken_registry_stops_neither_runs_nor_histories_and_is_told_of_once(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(registry, "_EMPTY_FOR", 0.0)
    monkeypatch.setattr(registry, "_PATIENCE", 0)
    answers = world.mlflow.registry

    def broken(*, refresh: bool = True) -> Sequence[ModelVersion]:
        raise error

    world.mlflow.registry = broken  # type: ignore[method-assign]
    world.mlflow.log("a", "loss", 0)
    poller = world.poller("sink")
    with capture_logs() as logs:
        for step in (1, 2, 3):
            poller.run(complete=False)
            world.mlflow.log("a", "loss", step)
    assert world.steps("sink") == [0, 1, 2]
    assert [line["reason"] for line in logs if "registry" in line["event"]] == [str(error)]
    world.mlflow.registry = answers  # type: ignore[method-assign]
    poller.run(complete=False)
    assert poller._sync._registry.registry.versions == world.mlflow.versions
    changes = poller._sync._registry.registry.alias_changes
    assert set(changes.values()) == {0}, "what it says first is no change"


def test_what_the_registry_said_last_stands_while_it_is_broken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_EMPTY_FOR", 0.0)
    world.mlflow.log("a", "loss", 0)
    world.poller("sink").run(complete=False)

    def broken(*, refresh: bool = True) -> Sequence[ModelVersion]:
        raise SourceUnavailableError("HTTP 503")

    world.mlflow.registry = broken  # type: ignore[method-assign]
    world.mlflow.log("a", "loss", 1)
    world.poller("sink").run(complete=False)  # as after a restart
    with world.database.read() as tx:
        assert tx.exec_driver_sql("SELECT registry_stage FROM run").scalars().all() == ["champion"]
