"""Whatever happens in MLflow, sooner or later every point is queued exactly once, and what is gone is not shown.

Real polls, over every reader, against stores that MLflow itself writes.
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlflow_monitoring_exporter.app.polling import PollEvents, build_poller
from mlflow_monitoring_exporter.config.schema import ExportConfig, MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceError
from mlflow_monitoring_exporter.core.values import Snapshot
from mlflow_monitoring_exporter.pipeline import poll
from mlflow_monitoring_exporter.pipeline.poll import PollReport
from mlflow_monitoring_exporter.pipeline.queues import Queue
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.runs import SqlRuns
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.transform.projection import SampleProjection
from tests.parts.databases import driver_url
from tests.parts.faulty_proxy import FAULTS, FaultyProxy
from tests.parts.gauges import all_series, metrics
from tests.parts.mlflow_server import MlflowServer
from tests.parts.scaled import scaled

if TYPE_CHECKING:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

DAY = 86_400_000
_numbers = itertools.count()
_stores: dict[str, SqlAlchemyStore] = {}


class Mlflow:
    """One experiment of its own in a store, written as MLflow writes it."""

    def __init__(self, store_url: str, directory: Path) -> None:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        url = driver_url(store_url)
        if url not in _stores:
            _stores[url] = SqlAlchemyStore(url, str(directory))
        self.store = _stores[url]
        self.name = f"changes {next(_numbers)}"
        self.experiment_id = self.store.create_experiment(self.name)
        self.now = int(time.time() * 1000)

    def start(self, *, at: int | None = None, parent: str | None = None) -> str:
        from mlflow.entities import RunTag

        tags = [RunTag("mlflow.parentRunId", parent)] if parent else []
        run = self.store.create_run(self.experiment_id, "me", self.now if at is None else at, tags, "run")
        return str(run.info.run_id)

    def log(self, run_id: str, *steps: int, key: str = "loss", at: int | None = None) -> None:
        from mlflow.entities import Metric

        when = self.now if at is None else at
        points = [Metric(key, step / 3, when + n, step) for n, step in enumerate(steps)]
        for start in range(0, len(points), 1000):
            self.store.log_batch(run_id, points[start : start + 1000], [], [])

    def update(self, run_id: str, status: str, end: int | None, name: str = "run") -> None:
        from mlflow.entities import RunStatus

        self.store.update_run_info(run_id, RunStatus.from_string(status), end, name)


@pytest.fixture(autouse=True)
def _counted_by_every_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a machine where that takes long."""
    monkeypatch.setattr(poll, "_CHEAP", float("inf"))


class World:
    """Polls of one experiment, their queue, and what is shown."""

    def __init__(self, mlflow: Mlflow, source: Source, directory: Path) -> None:
        self.mlflow = mlflow
        self.source = source
        self.database = Database(f"sqlite:///{directory}/state.db")
        self.outbox = Outbox(self.database)
        self.queue = self.outbox.register(["sink"])["sink"]
        self.snapshots: list[Snapshot] = []
        self.got: list[tuple[str, str, int, int]] = []
        self.tags: dict[str, dict[str, str]] = {}
        self.names: set[str] = set()
        self.restart()

    def restart(self) -> None:
        config = {"experiments": {"include": ["changes *"], "exclude": self._others()}, "tags": ["owner"]}
        self.poller = build_poller(
            self.source,
            ExportConfig.model_validate({**config, "max_experiments": 0, "sweep": {"page": 3, "every": 3600}}),
            database=self.database,
            queues=[Queue("sink", self.queue, 500, 10**12, SampleProjection())],
            events=PollEvents(self.snapshots.append),
            stop=threading.Event(),
        )

    def _others(self) -> list[str]:
        names = {e.name for e in self.source.experiments() if e.name.startswith("changes ")}
        return sorted(names - {self.mlflow.name})

    def poll(self, *, complete: bool = False) -> PollReport:
        report = self.poller.run(complete=complete)
        while (head := self.outbox.head(self.queue)) is not None:
            for sample in head.batch.samples:
                self.got.append((sample.run.run_id, sample.key, sample.step, sample.timestamp_ms))
                self.tags[sample.run.run_id] = dict(sample.run.tags)
                self.names.add(sample.run.experiment_name)
            self.outbox.acknowledge(head)
        return report

    def sweep(self) -> None:
        """A poll that takes a step of the sweep, too: three runs."""
        self.poller._sync._swept = float("-inf")
        self.poll()

    def sweep_until(self, true: Callable[[], bool], *, within: int = 12) -> None:
        for _ in range(within):
            self.sweep()
            if true():
                break
        assert true()
        self.sweep()
        assert true(), "and it stays so"
        assert len(self.got) == len(set(self.got)), "each point once"

    def steps(self, run_id: str, key: str = "loss") -> list[int]:
        return sorted(step for run, k, step, _ in self.got if (run, k) == (run_id, key))

    def shown(self) -> int:
        """How many runs have gauges now. On a slow machine a poll counts only now and then."""
        self.poller._count_again = 0.0
        return self.poll().runs


@pytest.fixture(params=["rest", "sqlite", "postgresql", "mysql"])
def world(
    request: pytest.FixtureRequest, tracking_server: MlflowServer, tmp_path: Path, furnished: object
) -> Iterator[World]:
    uri = store = tracking_server.store_uri
    if request.param == "rest":
        uri = tracking_server.url
    elif request.param != "sqlite":
        uri = store = request.getfixturevalue(f"{request.param}_url")
    source = open_source(MlflowConfig(tracking_uri=uri), stop=threading.Event(), concurrency=3)
    world = World(Mlflow(store, tmp_path), source, tmp_path)
    yield world
    world.database.close()
    source.close()
    world.mlflow.store.delete_experiment(world.mlflow.experiment_id)


def finished(mlflow: Mlflow, *steps: int, ago: int = DAY) -> str:
    run_id = mlflow.start(at=mlflow.now - ago - 1000)
    mlflow.log(run_id, *steps, at=mlflow.now - ago - 500)
    mlflow.update(run_id, "FINISHED", mlflow.now - ago)
    return run_id


def test_points_logged_on_a_run_that_finished_yesterday(world: World) -> None:
    old = finished(world.mlflow, 0, 1, 5)
    world.poll()
    assert world.steps(old) == [0, 1, 5]
    world.mlflow.log(old, 3)
    world.mlflow.log(old, 0, key="evaluation")
    world.sweep_until(lambda: world.steps(old) == [0, 1, 3, 5] and world.steps(old, "evaluation") == [0])


def test_a_run_that_says_it_began_a_year_ago(world: World) -> None:
    finished(world.mlflow, 0)
    world.poll()
    backdated = finished(world.mlflow, 0, 1, ago=365 * DAY)
    world.sweep_until(lambda: world.steps(backdated) == [0, 1])
    assert world.shown() == 2


def test_a_run_that_goes_on_after_its_end(world: World) -> None:
    run_id = finished(world.mlflow, 0, 1)
    world.poll()
    world.mlflow.update(run_id, "RUNNING", world.mlflow.now - DAY)
    world.mlflow.log(run_id, 2)
    world.poll()
    assert world.steps(run_id) == [0, 1, 2]
    world.mlflow.log(run_id, 3)
    world.mlflow.update(run_id, "FINISHED", world.mlflow.now + 1000)
    world.poll()
    assert world.steps(run_id) == [0, 1, 2, 3]


def test_a_run_that_ends_without_saying_when(world: World) -> None:
    run_id = world.mlflow.start(at=world.mlflow.now - DAY)
    world.poll()
    world.mlflow.log(run_id, 0)
    world.mlflow.update(run_id, "KILLED", None)
    world.poll()
    assert world.steps(run_id) == [0]


def test_a_run_that_began_and_ended_between_two_polls(world: World) -> None:
    finished(world.mlflow, 0)
    world.poll()
    run_id = finished(world.mlflow, 0, 1, 2, ago=0)
    world.poll()
    assert world.steps(run_id) == [0, 1, 2]


def test_a_deleted_run_is_gone_with_the_next_poll_and_may_come_back(world: World) -> None:
    kept, gone, running = finished(world.mlflow, 0), finished(world.mlflow, 0), world.mlflow.start()
    world.mlflow.log(running, 0)
    assert world.poll().runs == 3
    world.mlflow.store.delete_run(gone)
    world.mlflow.store.delete_run(running)
    assert world.poll().runs == 1
    for run_id in (gone, running):
        world.mlflow.store.restore_run(run_id)
    world.mlflow.log(gone, 1)
    world.sweep_until(lambda: world.steps(gone) == [0, 1])
    assert world.shown() == 3
    assert world.steps(kept) == world.steps(running) == [0]


def test_a_deleted_and_restored_experiment(world: World) -> None:
    run_id = finished(world.mlflow, 0)
    assert world.poll().experiments == 1
    world.mlflow.store.delete_experiment(world.mlflow.experiment_id)
    report = world.poll()
    assert (report.experiments, report.runs, report.series) == (0, 0, 0)
    assert list(metrics(world.snapshots[-1])) == []
    world.mlflow.store.restore_experiment(world.mlflow.experiment_id)
    world.mlflow.store.restore_run(run_id)
    world.mlflow.log(run_id, 1)
    world.sweep_until(lambda: world.steps(run_id) == [0, 1])
    assert world.shown() == 1


def test_a_renamed_experiment_is_shown_by_its_new_name_with_the_next_poll(world: World) -> None:
    run_id = finished(world.mlflow, 0)
    world.poll()
    world.mlflow.store.rename_experiment(world.mlflow.experiment_id, f"{world.mlflow.name} renamed")
    world.poll()
    found = {labels.get("experiment_name") for _, labels, _ in all_series(world.snapshots[-1])}
    assert found - {None} == {f"{world.mlflow.name} renamed"}
    world.mlflow.log(run_id, 1)
    world.sweep_until(lambda: world.steps(run_id) == [0, 1])
    assert f"{world.mlflow.name} renamed" in world.names


def test_an_edited_tag_is_sent_with_what_follows(world: World) -> None:
    from mlflow.entities import RunTag

    run_id = finished(world.mlflow, 0)
    world.poll()
    world.mlflow.store.set_tag(run_id, RunTag("owner", "somebody"))
    world.mlflow.store.set_tag(run_id, RunTag("model_stage", "blue"))

    def stage() -> str:
        return {labels["model_stage"] for labels, _ in metrics(world.snapshots[-1])}.pop()

    world.sweep_until(lambda: stage() == "blue")
    world.mlflow.log(run_id, 1)
    world.sweep_until(lambda: world.tags[run_id] == {"owner": "somebody"})


def test_thirty_thousand_points_on_one_key(world: World) -> None:
    """More than a page of MLflow's; a database has no pages, and takes long to fill."""
    third = 10_000 if isinstance(world.source, RestSource) else scaled(1_000, 10_000)
    run_id = world.mlflow.start()
    world.mlflow.log(run_id, *range(2 * third))
    world.poll()
    world.mlflow.log(run_id, *range(2 * third, 3 * third), at=world.mlflow.now + 2 * third)
    world.poll()
    assert world.steps(run_id) == list(range(3 * third))
    assert len(world.got) == 3 * third


def test_a_key_logged_five_thousand_times_without_a_step(world: World) -> None:
    run_id = world.mlflow.start()
    world.mlflow.log(run_id, *(0 for _ in range(4000)))
    world.poll()
    world.mlflow.log(run_id, *(0 for _ in range(1000)), at=world.mlflow.now + 4000)
    world.poll()
    assert sorted(when - world.mlflow.now for *_, when in world.got) == list(range(5000))


def test_points_that_arrive_out_of_order_on_a_running_run(world: World) -> None:
    run_id = world.mlflow.start()
    other = world.mlflow.start()
    world.mlflow.log(run_id, 0, 10, 20)
    world.mlflow.log(other, 0)
    world.poll()
    world.mlflow.log(run_id, 5, 25)
    world.poll()
    world.mlflow.log(run_id, 15)
    world.mlflow.update(run_id, "FINISHED", world.mlflow.now)
    world.sweep_until(lambda: world.steps(run_id) == [0, 5, 10, 15, 20, 25])


def test_runs_that_arrive_while_pages_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [finished(world.mlflow, n, ago=DAY - n) for n in range(4)]
    late: list[str] = []
    pages = world.source.runs

    def arriving(ids: Sequence[str], *, after: str | None = None, limit: int = 1000) -> Iterator[object]:
        for page in pages(ids, after=after, limit=min(limit, 2)):
            if len(late) < 4:
                late.append(finished(world.mlflow, 7, ago=DAY // 2 if len(late) % 2 else 2 * DAY))
            yield page

    monkeypatch.setattr(world.source, "runs", arriving)
    world.poll()
    assert all(world.steps(run_id) for run_id in first)
    world.sweep_until(lambda: all(world.steps(run_id) == [7] for run_id in late))
    assert world.shown() == len(first) + len(late)


def test_a_daemon_that_was_away_catches_up(world: World) -> None:
    running, old = world.mlflow.start(), finished(world.mlflow, 0)
    world.mlflow.log(running, 0)
    world.poll()
    world.mlflow.log(running, 1)
    world.mlflow.update(running, "FINISHED", world.mlflow.now)
    world.mlflow.log(old, 1)
    new = finished(world.mlflow, 0, ago=0)
    world.restart()
    world.sweep_until(lambda: [world.steps(run_id) for run_id in (running, old, new)] == [[0, 1], [0, 1], [0]])


def test_a_complete_poll_finds_everything_at_once(world: World) -> None:
    old = finished(world.mlflow, 5)
    world.poll()
    world.mlflow.log(old, 3)
    backdated = finished(world.mlflow, 0, ago=365 * DAY)
    world.poll(complete=True)
    assert (world.steps(old), world.steps(backdated)) == ([3, 5], [0])


def test_nested_runs_know_their_parent_and_their_root(world: World) -> None:
    root = world.mlflow.start()
    child = world.mlflow.start(parent=root)
    grandchild = world.mlflow.start(parent=child)
    for run_id in (root, child, grandchild):
        world.mlflow.log(run_id, 0)
    world.poller.run(complete=False)
    head = world.outbox.head(world.queue)
    assert head is not None
    found = {s.run.run_id: (s.run.parent_run_id, s.run.root_run_id) for s in head.batch.samples}
    assert found == {root: (None, root), child: (root, root), grandchild: (child, root)}


def test_a_server_that_fails_in_the_middle_makes_nothing_be_skipped(
    tracking_server: MlflowServer, furnished: object, tmp_path: Path
) -> None:
    """Each answer may be 429, 500, half of its JSON, half of its bytes, or another's page."""
    dice = random.Random(7)
    failed = 0

    def fault(request: str) -> str | None:
        return dice.choice(FAULTS) if broken and dice.random() < 0.3 else None

    broken = False
    with FaultyProxy(tracking_server.url, fault) as proxy:
        config = MlflowConfig(tracking_uri=proxy.url)
        source = open_source(config, stop=threading.Event(), concurrency=3)
        world = World(Mlflow(tracking_server.store_uri, tmp_path), source, tmp_path)
        mlflow = world.mlflow
        expected = {finished(mlflow, *range(n + 1), ago=n): list(range(n + 1)) for n in range(12)}
        running = mlflow.start()
        broken = True
        for step in range(40):  # a poll fails seldom: most faults are tried again, or cost one history
            mlflow.log(running, step)
            late = finished(mlflow, step, ago=0)
            expected |= {running: list(range(step + 1)), late: [step]}
            try:
                world.poll()
            except SourceError:
                failed += 1
            if failed and step >= 7:
                break
        broken = False
        assert failed, "or this proves nothing"
        world.sweep_until(lambda: {run_id: world.steps(run_id) for run_id in expected} == expected)
        assert world.shown() == len(expected)
        world.database.close()
        source.close()
        mlflow.store.delete_experiment(mlflow.experiment_id)


class TestRowNumbersOfSqlite:
    """What SQLite does with them when rows go."""

    @pytest.fixture
    def world(self, tracking_server: MlflowServer, tmp_path: Path) -> Iterator[World]:
        directory = tmp_path / "store"
        directory.mkdir()
        source = open_source(MlflowConfig(tracking_uri=f"sqlite:///{directory}/mlflow.db"), stop=threading.Event())
        world = World(Mlflow(f"sqlite:///{directory}/mlflow.db", directory), source, tmp_path)
        yield world
        world.database.close()
        source.close()

    def execute(self, world: World, *statements: str) -> None:
        path = world.mlflow.store.db_uri.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    def test_numbers_that_are_given_away_twice_hide_nothing(self, world: World) -> None:
        old = finished(world.mlflow, 5)
        doomed = finished(world.mlflow, *range(3))
        world.poll()
        world.mlflow.store.delete_run(doomed)
        self.execute(world, f"DELETE FROM metrics WHERE run_uuid = '{doomed}'")  # as mlflow gc does
        world.mlflow.log(old, 1, 2, 3)
        world.poll()
        assert world.steps(old) == [1, 2, 3, 5]

    def test_numbers_that_are_given_anew_hide_nothing(self, world: World) -> None:
        first, old = finished(world.mlflow, *range(5)), finished(world.mlflow, 5)
        world.poll()
        self.execute(world, f"DELETE FROM metrics WHERE run_uuid = '{first}' AND step < 4", "VACUUM")
        world.mlflow.log(old, 1, 2)
        world.poll()
        assert world.steps(old) == [1, 2, 5]

    def test_nothing_is_read_of_a_store_that_no_one_wrote_to(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        finished(world.mlflow, 0)
        world.mlflow.start()
        world.poll()
        world.poll()
        read: list[str] = []
        of_rows = SqlRuns.of_rows

        def told(*arguments: Any) -> Any:
            read.append("page")
            return of_rows(*arguments)

        monkeypatch.setattr(SqlRuns, "of_rows", told)
        world.poll()
        assert read == []
        world.mlflow.start()
        world.poll()
        assert read
