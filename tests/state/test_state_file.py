"""What can be wrong with the state file, and who may use it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.errors import StateCorruptError, StateError
from mlflow_monitoring_exporter.core.values import RunContext, Sample
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.ledger import ledgers
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.payload import Payload
from mlflow_monitoring_exporter.state.payload_queue import PayloadQueue
from mlflow_monitoring_exporter.state.state_file import StateLock, set_aside


def filled(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    context = RunContext("server", "1", "experiment", "a" * 32, "run")
    with database.write() as tx:
        samples = [Sample(context, f"key{step % 7}", step, step, step / 3) for step in range(5000)]
        outbox.enqueue(tx, queue, samples, batch_size=50)
    database.close()


@pytest.mark.parametrize("damage", ["truncated", "zeroed start", "garbage in the middle", "torn page"])
def test_a_damaged_database_is_told_from_a_good_one(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.db"
    filled(path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2 + 100]
    elif damage == "zeroed start":
        content[:4096] = bytes(4096)
    elif damage == "garbage in the middle":
        content[8192:20480] = b"\x5a" * 12288
    else:
        content[4096:6144] = bytes(2048)
    path.write_bytes(content)
    with pytest.raises(StateCorruptError, match=rf"state file {path} is damaged"):
        Database(f"sqlite:///{path}")
    aside = set_aside(path)
    assert aside.read_bytes() == content, "nothing is thrown away"
    fresh = Database(f"sqlite:///{path}")
    assert ledgers(fresh) == []
    fresh.close()


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (run_uuid TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="is another program's database \\(it has a table runs\\)"):
        Database(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_another_kind_of_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my shopping list")
    with pytest.raises(StateError, match="is not a state file"):
        Database(f"sqlite:///{path}")
    assert path.read_text() == "my shopping list"


def outcome(path: Path) -> type[StateError] | None:
    """What opening a file raises; None when it opens and holds what :func:`filled` put there."""
    try:
        database = Database(f"sqlite:///{path}")
    except StateError as error:
        return type(error)
    (ledger,) = ledgers(database)
    database.close()
    assert ledger.queued == 5000
    return None


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good state file, not to be changed."""
    path = tmp_path_factory.mktemp("good") / "state.db"
    filled(path)
    return path


#: Bytes at the begin of a file that hold the names of its tables; of less, they may be gone with the head.
_NAMED = 37 * 4096


@given(
    place=st.tuples(st.integers(0, 99), st.integers(1, 100)),
    filling=st.sampled_from([b"\x00", b"\xff", b"\x5a", b"\x01", b"\x20"]) | st.binary(min_size=1, max_size=100),
    kept=st.none() | st.integers(1, 100),
)
@example(place=(0, 9), filling=b"\x00", kept=1)
@example(place=(0, 100), filling=b"\x00", kept=None)
@example(place=(0, 1), filling=b"\x00", kept=26)
@example(place=(0, 100), filling=b"\xff", kept=26)
@example(place=(0, 100), filling=b"\xff", kept=None)
@example(place=(0, 1), filling=b"\x5a", kept=None)
@example(place=(18, 19), filling=b"\x5a", kept=None)
@example(place=(44, 48), filling=b"\x5a", kept=None)
@example(place=(56, 60), filling=b"\x00\x00\x00\x02", kept=None)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_damaged_head_is_damage_and_no_other_programs_file(
    good: Path, tmp_path: Path, place: tuple[int, int], filling: bytes, kept: int | None
) -> None:
    """It opens as if nothing was wrong, or can be set aside; ``kept`` is how much per cent is left of the file."""
    path = tmp_path / "state.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    damaged = bytearray(good.read_bytes())
    start, length = place[0], max(0, place[1] - place[0])
    damaged[start : start + length] = (filling * 100)[:length]
    if kept is not None and kept < 100:
        del damaged[max(_NAMED, len(damaged) * kept // 100) :]
    path.write_bytes(damaged)
    assert outcome(path) in (None, StateCorruptError)


@pytest.mark.parametrize("size", [1, 15, 16, 50, 99, 100, 101, 4095, 4096, 5000])
def test_a_file_that_was_cut_off_is_damaged(good: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(good.read_bytes()[:size])
    if size < 8:
        assert outcome(path) is StateError, "one letter may be anybody's"
    else:
        assert outcome(path) is StateCorruptError


def test_an_empty_file_becomes_a_state_file_unless_its_log_holds_something(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    Database(f"sqlite:///{path}").close()
    path.write_bytes(b"")
    path.with_name("state.db-wal").write_bytes(b"what was committed last")
    with pytest.raises(StateCorruptError, match="it is empty, and its write-ahead log is not"):
        Database(f"sqlite:///{path}")
    assert set_aside(path).with_name("state.db-wal").exists() is False


@pytest.mark.parametrize("start", [0, 16, 18, 44, 56])
@pytest.mark.parametrize("filling", [b"\xff", b"\x00"])
def test_another_programs_database_with_a_damaged_head_is_left_as_it_is(
    tmp_path: Path, start: int, filling: bytes
) -> None:
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (run_uuid TEXT)")
        connection.execute("CREATE TABLE meta (version TEXT)")
    connection.close()
    damaged = bytearray(path.read_bytes())
    damaged[start : start + 4] = filling * 4
    path.write_bytes(damaged)
    assert outcome(path) is StateError
    assert path.read_bytes() == damaged


def test_another_programs_database_is_told_from_ours_though_it_has_a_table_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")
        connection.execute("INSERT INTO meta VALUES ('schema', '3')")
    connection.close()
    before = path.read_bytes()
    assert outcome(path) is StateError
    assert path.read_bytes() == before


def test_a_dump_of_a_state_file_is_not_a_state_file(tmp_path: Path) -> None:
    filled(tmp_path / "state.db")
    with sqlite3.connect(tmp_path / "state.db") as connection:
        words = "\n".join(connection.iterdump())
    connection.close()
    path = tmp_path / "dump.sql"
    path.write_text(words)
    assert outcome(path) is StateError
    assert path.read_text() == words


def test_a_file_that_was_removed_under_us_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(f"sqlite:///{path}")
    database.check()
    path.unlink()
    with pytest.raises(StateCorruptError, match="was removed or replaced"):
        database.check()
    path.write_bytes(b"")
    with pytest.raises(StateCorruptError, match="was removed or replaced"):
        database.check()
    database.close()


@pytest.mark.parametrize("place", ["/proc/nothing/state.db", "/dev/null/state.db"])
def test_a_place_that_cannot_hold_a_file_is_one_line(place: str) -> None:
    with pytest.raises(StateError, match=f"cannot open the state file {place}: "):
        Database(f"sqlite:///{place}")


def test_only_one_may_hold_the_state_and_the_other_is_told_who_does(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = f"""
from pathlib import Path
from mlflow_monitoring_exporter.state.payload import Payload
from mlflow_monitoring_exporter.state.payload_queue import PayloadQueue
from mlflow_monitoring_exporter.state.state_file import StateLock
lock = StateLock(Path({str(path)!r}))
print("held", flush=True)
input()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StateError, match=f"is in use by process {holder.pid}: stop that one"):
        StateLock(path)
    holder.kill()
    holder.wait()
    StateLock(path).release()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _emptied(database: Database) -> None:
    queue = Outbox(database).register(["sink"])["sink"]
    with database.write() as tx:
        assert PayloadQueue.drop_oldest(tx, queue, 10**12)


def _backlog(database: Database, batches: int) -> None:
    queue = Outbox(database).register(["sink"])["sink"]
    for _ in range(batches):
        with database.write() as tx:
            PayloadQueue.put(tx, queue, [Payload.frozen(os.urandom(100_000), items=1, created_ms=1) for _ in range(20)])


def _size(path: Path) -> int:
    """Of the file, once what is in its log is in it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return path.stat().st_size


def test_room_that_nothing_needs_goes_back_to_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(f"sqlite:///{path}")
    _backlog(database, 20)
    full = _size(path)
    assert not database.give_back(), "nothing is free"
    _emptied(database)
    times = 0
    while database.give_back():
        times += 1
    assert times > 1, "some at a time, so that no writer waits long"
    assert full > 40_000_000
    assert _size(path) < full / 3
    assert [ledger.overflowed for ledger in ledgers(database)] == [400]
    database.close()


def test_a_file_that_cannot_shrink_bit_by_bit_is_made_anew_once(tmp_path: Path) -> None:
    """As those of releases before this one are."""
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    database = Database(f"sqlite:///{path}")
    with database.read() as tx:
        assert tx.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 0
    _backlog(database, 10)
    full = _size(path)
    assert not database.give_back()
    _emptied(database)
    database.give_back()
    assert _size(path) < full / 10
    database.close()
    again = Database(f"sqlite:///{path}")
    with again.read() as tx:
        assert tx.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 2
    assert [ledger.overflowed for ledger in ledgers(again)] == [200]
    again.close()
