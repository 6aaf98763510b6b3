"""State that earlier releases wrote opens under this one, and loses nothing; how it was made says earlier/make.py."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, text
from structlog.testing import capture_logs

from mlflow_monitoring_exporter import __version__
from mlflow_monitoring_exporter.app.export_once import export_once
from mlflow_monitoring_exporter.config.load import load_config
from mlflow_monitoring_exporter.core.errors import StateError, StateFullError
from mlflow_monitoring_exporter.exporters.plugins import load_plugins
from mlflow_monitoring_exporter.state import sqlite_engine as store_file
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.first_loads import FirstLoads
from mlflow_monitoring_exporter.state.ledger import ledgers
from mlflow_monitoring_exporter.state.migrations import configuration, upgrade_file
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.postgresql_engine import SCHEMA
from mlflow_monitoring_exporter.state.retry_times import RetryTimes
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, metadata
from tests.parts.command import run
from tests.parts.databases import driver_url
from tests.parts.states import drop
from tests.parts.strict_peer import StrictPeer, strict_peer

PLUGINS = load_plugins()
EARLIER = Path(__file__).parent / "earlier"
FILES = sorted(path.name.removesuffix(".db.gz") for path in EARLIER.glob("[0-9]*.db.gz"))
#: Columns that every schema has, of everything that must not be lost.
KEPT = {
    "outbox": "id, exporter, batch_id, created_ms, samples, payload",
    "dead_letter": "id, exporter, batch_id, created_ms, reason, samples, payload",
    "seen": "series, point, mask",
    "series": "id, run, key, step, timestamp_ms, value, mask, shown",
    "run": "id, server, run_id, experiment_id, name, status, start_ms, end_ms, tags",
    "exporter": "bit, name",
    "server": "id, identity",
    "sqlite_sequence": "name, seq",
}
#: What only some of them have.
NEWER = {
    "exporter": "since_ms enqueued delivered dead_lettered purged overflowed queued queued_batches queued_bytes dead",
    "server": "since_ms mark selection round load_round load_key load_position sweep_round sweep_position "
    "recheck_after",
    "series": "base from_step pending revision",
    "run": "parent_run_id labels last_ms alive_ms gap_ms present round recheck",
    "experiment": "server experiment_id name watched activity_ms",
    "dead_letter": "first_ms last_ms status",
}
#: As schema 6 wrote it.
PAUSE = {"target": "http://push", "asked_ms": 1, "until_ms": 2, "reason": "HTTP 503\n"}
Rows = dict[str, list[tuple[Any, ...]]]


def put(name: str, path: Path) -> Path:
    path.write_bytes(gzip.decompress((EARLIER / f"{name}.db.gz").read_bytes()))
    return path


def release(name: str) -> str:
    """Which one wrote a file of this schema, as far as it says."""
    return "0.1.0" if name[0] < "6" else "0.2.0"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A state file of schema 4."""
    return put("4", tmp_path / "state.db")


def rows(path: Path, like: Path | None = None) -> Rows:
    """What is in a file, in the columns that it has; or those that another one has."""
    found: Rows = {}
    with closing(sqlite3.connect(path)) as state, closing(sqlite3.connect(like or path)) as other:
        for table, words in {**{table: KEPT.get(table, "") for table in NEWER}, **KEPT}.items():
            has = [name for _, name, *_ in other.execute(f"PRAGMA table_info({table})")]
            wanted = [*filter(None, words.split(", ")), *(name for name in NEWER.get(table, "").split() if name in has)]
            names = "name, seq" if table == "sqlite_sequence" else ", ".join(wanted)
            found[table] = sorted(state.execute(f"SELECT {names} FROM {table}"), key=repr)
    found["sqlite_sequence"] = [row for row in found["sqlite_sequence"] if row[0] != "replica"]
    return found


def test_there_is_a_file_of_every_schema_that_was_ever_written() -> None:
    assert {int(name[0]) for name in FILES} == set(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_an_earlier_schema_holds_the_same_after_its_upgrade(name: str, tmp_path: Path) -> None:
    path, before = put(name, tmp_path / "state.db"), put(name, tmp_path / "before.db")
    database = Database(f"sqlite:///{path}")
    assert str(database.upgraded) == f"state upgraded from schema {name[0]} ({release(name)}) to {SCHEMA_VERSION}"
    assert all(ledger.balanced for ledger in ledgers(database))
    queued = {ledger.name: (ledger.delivered, ledger.queued, ledger.dead) for ledger in ledgers(database)}
    count = sum(letter.samples for letter in DeadLetters(database).all())
    assert queued == {"file": (count, 0, 0), "away": (0, count, 0), "refusing": (0, 0, count)}
    database.close()
    assert rows(path, before) == rows(before)
    with closing(sqlite3.connect(path)) as state:
        assert state.execute("PRAGMA foreign_key_check").fetchall() == []
        assert state.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        meta = dict(state.execute("SELECT key, value FROM meta"))
        assert meta == {"schema": str(SCHEMA_VERSION), "release": __version__}, "it says what the file is, no more"
        assert state.execute("SELECT count(*) FROM exporter WHERE slot <> bit OR slot IS NULL").fetchone() == (0,)
    again = Database(f"sqlite:///{path}")
    assert again.upgraded is None
    again.close()


def test_what_schema_6_kept_as_texts_has_columns_and_tables_of_its_own(tmp_path: Path) -> None:
    path, before = put("6", tmp_path / "state.db"), put("6", tmp_path / "before.db")
    with closing(sqlite3.connect(before)) as state:
        keys = {key.split(" of ")[0] for (key,) in state.execute("SELECT key FROM meta")}
        (here,) = state.execute("SELECT identity FROM server").fetchone()
    assert keys == {"schema", "release", "selection", "first loads", "pause"}
    database = Database(f"sqlite:///{path}")
    pauses, first_loads = RetryTimes(database), FirstLoads(database)
    pause = pauses.get("away", "http://elsewhere")
    assert pause is not None
    assert pause.reason == 'HTTP 503: "later"'
    assert pause.seconds > 50 * 365 * 86_400
    assert pauses.get("away", "http://other") is None
    assert pauses.get("pushgateway", "http://elsewhere") is None, "it is over"
    ids = Outbox(database).register(["file", "away", "refusing"], selections={"refusing": "only a part"})
    since = dict.fromkeys(ids.values(), 1_577_836_800_000)
    assert first_loads.since() == since
    first_loads.end([ids["away"]], server=here, servers=[here, "http://not-yet"])
    assert first_loads.since() == since, "another server has still to be loaded"
    first_loads.end([ids["away"]], server=here, servers=[here])
    assert first_loads.since() == {queue: at for queue, at in since.items() if queue != ids["away"]}
    with database.read() as tx:
        joined = "first_load JOIN exporter ON bit = exporter JOIN server ON server.id = first_load.server"
        loaded = tx.execute(text(f"SELECT exporter.name, identity FROM {joined}")).all()
        masks = tx.execute(text("SELECT count(*), sum(mask) FROM seen")).all()
    assert loaded == [("file", here)]
    database.close()
    with closing(sqlite3.connect(before)) as state:
        assert masks == state.execute("SELECT count(*), sum(mask) FROM seen").fetchall()


def test_a_selection_that_schema_6_knew_is_not_taken_for_another_one(tmp_path: Path) -> None:
    path = put("6", tmp_path / "state.db")
    database = Database(f"sqlite:///{path}")
    before = rows(path)["series"]
    Outbox(database).register(["refusing"], selections={"refusing": "only a part"})
    assert rows(path)["series"] == before
    Outbox(database).register(["file"], selections={"file": "only a part"})
    assert rows(path)["series"] != before
    database.close()


@pytest.mark.parametrize("name", FILES)
def test_an_upgraded_file_has_the_tables_that_the_schema_describes(name: str, tmp_path: Path) -> None:
    Database(f"sqlite:///{put(name, tmp_path / 'state.db')}").close()
    engine = create_engine(f"sqlite:///{tmp_path}/state.db")
    with engine.connect() as connection:
        tables = MigrationContext.configure(connection, opts={"include_object": lambda *what: what[2] != "index"})
        assert compare_metadata(tables, metadata) == []
        words = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1"
        found = connection.exec_driver_sql(words).all()
    engine.dispose()
    Database(f"sqlite:///{tmp_path}/fresh.db").close()
    with closing(sqlite3.connect(tmp_path / "fresh.db")) as fresh:
        assert [tuple(row) for row in found] == fresh.execute(words).fetchall()


@pytest.mark.parametrize("name", FILES)
def test_after_an_upgrade_every_point_arrives_once(name: str, tmp_path: Path) -> None:
    """What waits keeps its ids, what is delivered stays delivered, and what was still to be read is read."""
    state = put(name, tmp_path / "state.db")
    store = tmp_path / "mlflow.db"
    store.write_bytes(gzip.decompress((EARLIER / "mlflow.db.gz").read_bytes()))
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("UPDATE server SET identity = ?", [f"sqlite:///{store}"])
        waiting = [batch for (batch,) in database.execute("SELECT batch_id FROM outbox ORDER BY id")]
        payloads = [json.loads(payload) for (payload,) in database.execute("SELECT payload FROM outbox")]
    had = {(tree["runs"][run][3], key, step, at) for tree in payloads for run, key, step, at, _ in tree["samples"]}
    everything = log_more(store)
    with strict_peer() as away, strict_peer() as refusing:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(sending(store, state, away, refusing)))
        config = load_config(tmp_path / "config.yaml", exporter_types=PLUGINS.config_types, environ={})
        with capture_logs() as logged:
            assert all(export_once(config, PLUGINS).ok for _ in range(2))
        upgraded = [entry for entry in logged if entry["event"].startswith("state upgraded from schema")]
        assert [(entry["event"], entry["state"]) for entry in upgraded] == [
            (f"state upgraded from schema {name[0]} ({release(name)}) to {SCHEMA_VERSION}", f"the state file {state}")
        ]
        assert list(away.batches)[: len(waiting)] == waiting, "what waited goes first, under its own ids"
        for peer, expected in ((away, everything), (refusing, everything - had)):
            peer.accept_all_or_fail()
            got = [identity(sample) for sample in peer.samples]
            assert len(got) == len(set(got)), "nothing twice"
            assert set(got) == expected
            assert peer.repeats == 0
        opened = Database(f"sqlite:///{state}")
        letters = DeadLetters(opened)
        letters.replay([letter.number for letter in letters.all()])
        opened.close()
        assert export_once(config, PLUGINS).ok
        assert sorted(map(identity, refusing.samples)) == sorted(everything)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert sorted(map(identity, lines)) == sorted(everything - had), "the file got the others before"


def log_more(store: Path) -> set[tuple[str, str, int, int]]:
    """One point more of a series; and all points that there are."""
    with closing(sqlite3.connect(store)) as database, database:
        columns = "key, value, timestamp, run_uuid, step, is_nan"
        newest = database.execute(f"SELECT {columns} FROM metrics ORDER BY timestamp DESC LIMIT 1").fetchone()
        key, value, at, run_id, step, is_nan = newest
        for table in ("metrics", "latest_metrics"):
            database.execute(
                f"INSERT OR REPLACE INTO {table} ({columns}) VALUES (?, ?, ?, ?, ?, ?)",
                [key, value, at + 1000, run_id, step + 1, is_nan],
            )
        return set(database.execute("SELECT run_uuid, key, step, timestamp FROM metrics"))


def identity(sample: Mapping[str, Any]) -> tuple[str, str, int, int]:
    at = round(float(sample["timestamp"]) * 1000) if not isinstance(sample["timestamp"], str) else milliseconds(sample)
    return sample["metadata"]["run_id"], sample["name"], sample["metadata"]["step"], at


def milliseconds(sample: Mapping[str, Any]) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(sample["timestamp"]).timestamp() * 1000)


def sending(store: Path, state: Path, away: StrictPeer, refusing: StrictPeer) -> dict[str, Any]:
    """The configuration of earlier/make.py, with sinks that are well."""
    sink = {"type": "pramathus", "api_key": away.token}
    return {
        "mlflow": {"tracking_uri": f"sqlite:///{store}"},
        "state": {"url": f"sqlite:///{state}"},
        "export": {"max_experiments": 0},
        "exporters": {
            "prometheus": {"enabled": False},
            "file": {"path": str(state.with_name("samples.jsonl"))},
            "away": {**sink, "endpoint": away.url, "batch_size": 40},
            "refusing": {**sink, "endpoint": refusing.url, "batch_size": 100},
        },
    }


def killed_at(path: Path, statement: int) -> bool:
    """Upgrade a file in a process that is killed before this statement; whether it was."""

    def child() -> None:
        left = iter(range(statement))

        @event.listens_for(create_engine("sqlite://").__class__, "before_cursor_execute")
        def count(*_: object) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        Database(f"sqlite:///{path}").close()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["1", "4"])
def test_a_kill_in_the_middle_of_an_upgrade_leaves_the_old_file_whole(name: str, tmp_path: Path) -> None:
    before = rows(put(name, tmp_path / "before.db"))
    path = put(name, tmp_path / "state.db")
    statement = 0
    while killed_at(path, statement):
        with closing(sqlite3.connect(path)) as state:
            assert state.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == (name,)
        assert rows(path) == before
        statement += 3
    assert statement > 30, "there were statements to be killed at"
    with closing(sqlite3.connect(path)) as state:
        assert state.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == (str(SCHEMA_VERSION),)
    assert rows(path, tmp_path / "before.db") == before


def test_an_upgrade_on_a_full_disk_says_so_and_leaves_the_file_whole(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, configure = rows(old), store_file._configure

    def small(connection: sqlite3.Connection, entry: Any) -> None:
        configure(connection, entry)
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(store_file, "_configure", small)
    with pytest.raises(StateFullError, match=r"state\.db is full; it was not upgraded, and is as it was: .* room"):
        Database(f"sqlite:///{old}")
    assert rows(old) == before
    monkeypatch.undo()
    database = Database(f"sqlite:///{old}")
    assert database.upgraded is not None
    database.close()


def test_two_that_upgrade_a_file_at_the_same_time_upgrade_it_once(old: Path, tmp_path: Path) -> None:
    before = rows(put("4", tmp_path / "before.db"))
    together = threading.Barrier(3)
    opened: list[Database] = []

    def start() -> None:
        together.wait()
        opened.append(Database(f"sqlite:///{old}"))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(database.upgraded is None for database in opened) == [False, True, True]
    for database in opened:
        database.close()
    assert rows(old, tmp_path / "before.db") == before


def test_a_row_that_belongs_to_nothing_stops_an_upgrade_and_the_file_stays_as_it_was(old: Path) -> None:
    with closing(sqlite3.connect(old)) as state, state:
        state.execute("UPDATE outbox SET exporter = 60")
    before = rows(old)
    with pytest.raises(StateError, match="a row of outbox belongs to a row of exporter that is not there"):
        Database(f"sqlite:///{old}")
    assert rows(old) == before


def test_commands_leave_a_file_of_an_older_release_as_it_is(old: Path, tmp_path: Path) -> None:
    content = old.read_bytes()
    env = {"MLFLOW_EXPORTER_STATE__URL": f"sqlite:///{old}", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    for command in (["queue", "list"], ["queue", "purge", "--all"]):
        done = run(*command, cwd=tmp_path, env=env)
        assert done.code == 1
        assert "was written by release 0.1.0 (schema 4, " in done.err
        assert "continuous and export-once of this release upgrade it" in done.err
    (tmp_path / "mlflow.db").write_bytes(gzip.decompress((EARLIER / "mlflow.db.gz").read_bytes()))
    done = run("check", "--output", "json", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert old.read_bytes() == content


def test_a_file_of_a_newer_release_is_refused_with_advice_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    Database(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as state, state:
        state.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        state.execute("UPDATE meta SET value = '7.1.0' WHERE key = 'release'")
    before = rows(path)
    for opening in (Database, Database.existing):
        with pytest.raises(
            StateError, match=r"release 7\.1\.0 \(schema 99\).*use release 7\.1\.0 or newer, or the copy"
        ):
            opening(f"sqlite:///{path}")
    assert rows(path) == before


@pytest.fixture
def first(postgresql: str) -> Iterator[str]:
    """The URL of a database with the tables of the first revision, as they were on their first day."""
    from alembic import command

    drop(postgresql)
    with on_server(postgresql) as tx:
        tx.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        command.upgrade(configuration(tx), "0001")
        tx.execute(text("ALTER TABLE replica DROP COLUMN session"))
    yield postgresql
    drop(postgresql)


def on_server(url: str) -> Any:
    return create_engine(driver_url(url), connect_args={"options": f"-c search_path={SCHEMA}"}).begin()


def test_a_shared_database_of_an_earlier_release_holds_the_same_after_its_upgrade(first: str) -> None:
    with on_server(first) as tx:
        tx.execute(text("INSERT INTO exporter (bit, name, enqueued, queued) VALUES (0, 'sink', 3, 3)"))
        tx.execute(text("INSERT INTO outbox VALUES (7, 0, 5, 'abc', 1, 3, '{}')"))
        tx.execute(text("INSERT INTO replica (id, name) VALUES (1, 'an old one, at work')"))
    with pytest.raises(StateError, match=r"written by release 0\.1\.0 \(schema 5, "):
        Database.existing(first)
    database = Database(first)
    assert str(database.upgraded) == f"state upgraded from schema 5 (0.1.0) to {SCHEMA_VERSION}"
    with database.read() as tx:
        assert tx.execute(text("SELECT id, lane, batch_id FROM outbox")).all() == [(7, 5, "abc")]
        assert tx.execute(text("SELECT name, session FROM replica")).all() == [("an old one, at work", "")]
        assert tx.execute(text("SELECT value FROM meta WHERE key = 'release'")).scalar() == __version__
    database.close()


def test_texts_in_a_shared_database_of_schema_6_get_columns_and_tables(first: str) -> None:
    from alembic import command

    with on_server(first) as tx:
        command.upgrade(configuration(tx), "0006")
        tx.execute(text("INSERT INTO server (id, identity) VALUES (3, 'http://a'), (4, 'http://b')"))
        tx.execute(
            text("INSERT INTO exporter (bit, name, since_ms) VALUES (0, 'one', 5), (62, 'two', 6), (1, 'old', NULL)")
        )
        tx.execute(
            text("INSERT INTO meta VALUES (:key, :value)"),
            [
                {"key": "release", "value": "0.2.0"},
                {"key": "selection of two", "value": "a part"},
                {"key": "first loads of http://a", "value": str(2**62 | 3)},
                {"key": "first loads of http://gone", "value": "1"},
                {"key": "pause of push", "value": json.dumps(PAUSE)},
            ],
        )
    database = Database(first)
    assert str(database.upgraded) == f"state upgraded from schema 6 (0.2.0) to {SCHEMA_VERSION}"
    with database.read() as tx:
        assert tx.execute(text("SELECT key, value FROM meta")).all() == [("release", __version__)]
        exporters = "SELECT bit, slot, selection, configured_ms FROM exporter ORDER BY bit"
        assert tx.execute(text(exporters)).all() == [(0, 0, "", None), (1, 1, "", None), (62, 62, "a part", None)]
        loads = "SELECT server, exporter FROM first_load ORDER BY exporter"
        assert tx.execute(text(loads)).all() == [(3, 0), (3, 62)]
        assert tx.execute(text("SELECT * FROM retry_time")).mappings().one() == {"exporter": "push", **PAUSE}
    ids = Outbox(database).register(["one", "two"], selections={"two": "a part"})
    assert FirstLoads(database).since() == {ids["one"]: 5, ids["two"]: 6}
    FirstLoads(database).end([ids["one"]], server="http://b", servers=["http://a", "http://b"])
    assert FirstLoads(database).since() == {ids["two"]: 6}
    database.close()


def test_a_shared_database_of_a_newer_release_names_it(first: str) -> None:
    Database(first).close()
    with on_server(first) as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        tx.execute(text("UPDATE meta SET value = '7.1.0' WHERE key = 'release'"))
    with pytest.raises(StateError, match=r"release 7\.1\.0 \(schema 99\).*use release 7\.1\.0 or newer"):
        Database(first)


def test_a_connection_of_the_release_before_works_on_beside_an_upgrade(first: str) -> None:
    """A rolling upgrade: the schema moves under replicas that are at work."""
    engine = create_engine(driver_url(first), connect_args={"options": f"-c search_path={SCHEMA}"})
    with engine.connect() as at_work:
        at_work.execute(text("INSERT INTO exporter (bit, name) VALUES (0, 'sink')"))
        at_work.commit()
        Database(first).close()
        at_work.execute(text("UPDATE exporter SET enqueued = enqueued + 1"))
        at_work.execute(text("INSERT INTO replica (name) VALUES ('of the first days')"))
        at_work.commit()
    engine.dispose()


def test_a_revision_that_fails_in_the_middle_leaves_a_file_as_it_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(old)

    def failing(connection: Connection, schema: int) -> None:
        upgrade_file(connection, schema)
        connection.execute(text("SELECT * FROM nowhere"))

    monkeypatch.setattr("mlflow_monitoring_exporter.state.migrations.upgrade_file", failing)
    with pytest.raises(StateError, match="it was not upgraded, and is as it was"):
        Database(f"sqlite:///{old}")
    assert rows(old) == before
