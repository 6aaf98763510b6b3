"""What can be wrong with the state file, and who may use it."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.errors import StateCorruptError, StateError
from mlflow_monitoring_exporter.model import RunContext, Sample
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.file import StateLock, set_aside
from mlflow_monitoring_exporter.state.ledger import ledgers
from mlflow_monitoring_exporter.state.outbox import Outbox


def filled(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    outbox = Outbox(database)
    bit = outbox.register(["sink"])["sink"]
    context = RunContext("server", "1", "experiment", "a" * 32, "run")
    with database.write() as tx:
        samples = [Sample(context, f"key{step % 7}", step, step, step / 3) for step in range(5000)]
        outbox.enqueue(tx, bit, samples, batch_size=50)
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


def test_a_file_of_another_release_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    connection.close()
    with pytest.raises(StateError, match=r"schema version 99.*move it aside"):
        Database(f"sqlite:///{path}")


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
from mlflow_monitoring_exporter.state.file import StateLock
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
