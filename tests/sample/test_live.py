"""Live runs move, end, survive an absent server, and stop at once."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceUnavailableError
from mlflow_monitoring_exporter.core.values import RunStatus
from mlflow_monitoring_exporter.sample.live import run_live
from tests.parts.mlflow_server import MlflowServer
from tests.parts.programs import free_port
from tests.sample.conftest import fill, read


@dataclass
class Live:
    """A run_live that goes on in a thread."""

    logged: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def wait_for(self, what: Callable[[], bool], seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (self.logged[-5:], self.trouble[-5:])
            time.sleep(0.02)


@contextmanager
def live(config: MlflowConfig, *, interval: float, seed: int = 1) -> Iterator[Live]:
    """Ends it after the block, which must take less than a second."""
    state = Live()

    def run() -> None:
        run_live(
            config,
            seed=seed,
            stop=state.stop,
            interval=interval,
            on_logged=state.logged.append,
            on_trouble=state.trouble.append,
        )

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield state
    finally:
        state.stop.set()
        begun = time.monotonic()
        thread.join(30)
        took = time.monotonic() - begun
    assert took < 1.0


def test_two_ticks_log_two_steps_of_three_runs_and_stopping_kills_them(sqlite: MlflowConfig) -> None:
    with live(sqlite, interval=0.5) as state:
        state.wait_for(lambda: len(state.logged) >= 6)
    experiments, runs, _ = read(sqlite)
    assert state.trouble == []
    assert len(runs) == 3
    assert len({run.experiment_id for run in runs}) == 3
    assert {run.status for run in runs} == {RunStatus.KILLED}
    assert all(max(point.step for point in run.latest) >= 1 for run in runs)
    assert all(run.end_ms and run.end_ms <= time.time() * 1000 for run in runs)
    assert set(experiments.values()) >= {"churn-classifier", "house-price", "image-classifier"}
    assert state.logged[0].startswith("churn-classifier/")
    assert "step 1 of" in state.logged[0]


def test_stopping_does_not_wait_for_the_next_tick(sqlite: MlflowConfig) -> None:
    with live(sqlite, interval=60) as state:
        state.wait_for(lambda: len(state.logged) == 3)


def test_runs_that_end_are_replaced_by_runs_of_other_experiments(sqlite: MlflowConfig) -> None:
    with live(sqlite, interval=0.01) as state:
        state.wait_for(lambda: sum("FINISHED" in line for line in state.logged) >= 5, seconds=60)
    _, runs, _ = read(sqlite)
    statuses = Counter(run.status for run in runs)
    assert statuses[RunStatus.FINISHED] >= 5
    assert statuses[RunStatus.RUNNING] == 0
    assert statuses[RunStatus.KILLED] <= 3
    assert len({run.experiment_id for run in runs}) == 4
    assert len(runs) == len({run.name for run in runs})


def test_a_run_that_somebody_deletes_is_given_up_and_replaced(sqlite: MlflowConfig) -> None:
    with live(sqlite, interval=0.1) as state:
        state.wait_for(lambda: len(state.logged) >= 3)
        with sqlite3.connect(sqlite.tracking_uri.removeprefix("sqlite:///"), timeout=10) as connection:
            connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name IN (SELECT min(name) FROM runs)")
        state.wait_for(lambda: bool(state.trouble))
        before = len(state.logged)
        state.wait_for(lambda: len(state.logged) >= before + 6)
    assert "is given up" in state.trouble[0]
    assert len(state.trouble) == 1


def test_an_outage_is_reported_and_survived(tracking_server: MlflowServer) -> None:
    port = int(tracking_server.url.rpartition(":")[2])
    with live(MlflowConfig(tracking_uri=tracking_server.url), interval=0.5) as state:
        state.wait_for(lambda: len(state.logged) >= 3)
        tracking_server.stop()
        state.wait_for(lambda: bool(state.trouble))
        before = len(state.logged)
        tracking_server.start(port)
        state.wait_for(lambda: len(state.logged) >= before + 4)
    assert "does not answer any more" in state.trouble[0]
    _, runs, _ = read(MlflowConfig(tracking_uri=tracking_server.store_uri))
    assert [run.status for run in runs if "-live-" in run.name] == [RunStatus.KILLED] * 3


def test_what_cannot_be_killed_at_the_end_is_named(sqlite: MlflowConfig) -> None:
    with live(sqlite, interval=0.5) as state:
        state.wait_for(lambda: len(state.logged) >= 3)
        rename(sqlite, "runs", "runs_elsewhere")
        state.wait_for(lambda: bool(state.trouble))
    assert "stay RUNNING" in state.trouble[-1]
    assert "house-price/" in state.trouble[-1]


def test_a_server_that_is_not_there_at_the_start_is_an_error() -> None:
    with pytest.raises(SourceUnavailableError, match="start the server"):
        run_live(
            MlflowConfig(tracking_uri=f"http://127.0.0.1:{free_port()}"),
            seed=1,
            stop=threading.Event(),
            on_logged=print,
            on_trouble=print,
        )


def test_live_runs_join_the_experiments_that_generate_made(sqlite: MlflowConfig) -> None:
    fill(sqlite, runs=5)
    before, _, _ = read(sqlite)
    with live(sqlite, interval=5) as state:
        state.wait_for(lambda: len(state.logged) == 3)
    assert read(sqlite)[0] == before


def rename(config: MlflowConfig, table: str, to: str) -> None:
    """Makes every use of the table fail."""
    with sqlite3.connect(config.tracking_uri.removeprefix("sqlite:///"), timeout=10) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {to}")
