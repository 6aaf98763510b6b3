"""Who is alive, what is whose, and that who was given up writes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from mlflow_monitoring_exporter.core.errors import StateError, StateExpelledError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.membership import ReplicaTable
from tests.parts.states import States

LEASE = 2.0


def replica(shared: States, name: str, *, lease: float = LEASE) -> tuple[Database, ReplicaTable]:
    database = shared.again()
    found = ReplicaTable(database, lease=lease)
    found.join(name)
    return database, found


@pytest.fixture(autouse=True)
def old_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has just come back would give everybody a lease's time; this one came back long ago."""
    monkeypatch.setattr("mlflow_monitoring_exporter.state.membership._UP_FOR", text("interval '1 year'"))


def test_a_silent_replica_is_given_up_with_all_that_it_has(shared: States) -> None:
    _, one = replica(shared, "one")
    database, two = replica(shared, "two")
    one.introduce(["a", "b", "c"])
    one.claim(["a", "b"], 5)
    two.claim(["a", "b"], 5)
    assert {name: found.owner for name, found in two.watched().items()} == {"a": "one", "b": "one", "c": None}
    assert [found.mine for _, found in sorted(one.watched().items())] == [True, True, False]
    assert two.beat().alive == ["one", "two"]
    time.sleep(LEASE + 0.2)
    beat = two.beat()
    assert (beat.alive, beat.given_up) == (["two"], ["one"])
    two.claim(["a", "b", "c"], 2)
    assert {name: found.owner for name, found in two.watched().items()} == {"a": "two", "b": "two", "c": None}
    with pytest.raises(StateExpelledError, match="lease expired; rejoining"):
        one.beat()
    with database.write() as tx:
        assert tx.execute(text("SELECT count(*) FROM replica")).scalar() == 1


def test_who_was_given_up_writes_nothing_and_may_join_again(shared: States) -> None:
    database, _ = replica(shared, "one")
    _, two = replica(shared, "two")
    time.sleep(LEASE + 0.2)
    two.beat()
    with pytest.raises(StateExpelledError), database.write() as tx:
        tx.execute(text("INSERT INTO meta VALUES ('key', 'value')"))
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM meta WHERE key = 'key'")).scalar() == 0
    again, _ = replica(shared, "one again")
    with again.write() as tx:
        tx.execute(text("INSERT INTO meta VALUES ('key', 'value')"))
    assert two.beat().alive == ["two", "one again"]


def test_one_that_froze_in_a_transaction_loses_it_and_its_locks(shared: States) -> None:
    """To be waiting for the rest of many statements is what no timeout of PostgreSQL ends."""
    database, one = replica(shared, "one")
    _, two = replica(shared, "two")
    one.introduce(["a"])
    one.claim(["a"], 1)
    with pytest.raises(StateError), database.write() as tx:  # noqa: PT012 - whatever comes first of what follows
        driver = tx.connection.driver_connection
        assert driver is not None
        # A Parse message without the Sync that ends a group of them: as when a process is stopped while it sends.
        os.write(driver.fileno(), b"P" + (16).to_bytes(4, "big") + b"\x00SELECT 1\x00\x00\x00")
        time.sleep(LEASE + 0.2)
        two.beat()
        end = time.monotonic() + 10
        while "one" in two.beat().alive:
            assert time.monotonic() < end
            time.sleep(0.1)
        two.claim(["a"], 1)
        assert two.watched()["a"].mine
        tx.execute(text("SELECT 1"))


def test_a_server_that_has_just_come_back_gives_everybody_time(shared: States, monkeypatch: pytest.MonkeyPatch) -> None:
    replica(shared, "one")
    _, two = replica(shared, "two")
    time.sleep(LEASE + 0.2)
    with monkeypatch.context() as patched:
        patched.setattr("mlflow_monitoring_exporter.state.membership._UP_FOR", text("interval '0.5 seconds'"))
        assert two.beat().alive == ["one", "two"]
    assert two.beat().alive == ["two"]


def test_leaving_gives_everything_back(shared: States) -> None:
    _, one = replica(shared, "one")
    _, two = replica(shared, "two")
    one.introduce(["a"])
    one.claim(["a"], 1)
    one.leave()
    assert two.watched()["a"].owner is None
    two.claim(["a"], 1)
    two.release(["a"])
    assert two.watched()["a"].owner is None


def test_one_that_is_to_be_alone_is_refused_beside_another(shared: States) -> None:
    replica(shared, "one")
    with pytest.raises(StateError, match="is in use by one: stop that one"):
        ReplicaTable(shared.again(), lease=LEASE).join("export", alone=True)
    time.sleep(LEASE + 0.2)
    ReplicaTable(shared.again(), lease=LEASE).join("export", alone=True)


def test_a_file_has_no_replicas(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(TypeError, match="the state file"):
        ReplicaTable(database, lease=LEASE)
    database.close()
