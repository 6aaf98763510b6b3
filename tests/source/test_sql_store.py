"""The store is only read, never in anybody's way, and what is wrong with it is said plainly."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceError, SourceRefusedError, SourceUnavailableError
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from tests.parts.mlflow_server import MlflowServer
from tests.source.furnished import Furnished


@pytest.fixture
def database(tracking_server: MlflowServer, furnished: Furnished, tmp_path: Path) -> Path:
    """A copy of the furnished store that a test may spoil."""
    copy = tmp_path / "it's 100% my #1 store.db"
    with sqlite3.connect(tracking_server.database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


def open_sql(database: Path, **config: object) -> SqlSource:
    return SqlSource(MlflowConfig.model_validate({"tracking_uri": f"sqlite:///{database}", "timeout": 0.2, **config}))


def change(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def failure(source: SqlSource, expected: type[SourceError]) -> str:
    with pytest.raises(expected) as caught:
        source.check()
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_a_missing_store_is_not_created_and_the_way_out_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert failure(open_sql(path), SourceUnavailableError) == (
        f"no MLflow store at {path}: run mlflow-monitoring-exporter generate-sample, or set mlflow.tracking_uri"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_appears_later_is_read(database: Path, tmp_path: Path) -> None:
    source = open_sql(tmp_path / "later.db")
    failure(source, SourceUnavailableError)
    shutil.copy(database, tmp_path / "later.db")
    source.check()


def test_a_relative_path_is_named_by_its_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = SqlSource(MlflowConfig(tracking_uri="sqlite:///mlflow.db", workspace="team"))
    assert source.server == f"sqlite:///{tmp_path}/mlflow.db#team"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not an MLflow store: it has no table experiments"),
        (b"not a database at all " * 100, "is not an SQLite database"),
    ],
)
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert said in failure(open_sql(path), SourceRefusedError)
    assert path.read_bytes() == content


def test_a_directory_and_another_database_are_refused(tmp_path: Path) -> None:
    assert "is not a file" in failure(open_sql(tmp_path), SourceRefusedError)
    change(tmp_path / "other.db", "CREATE TABLE notes (text)")
    assert "is not an MLflow store" in failure(open_sql(tmp_path / "other.db"), SourceRefusedError)


def test_a_damaged_store_is_refused(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4096)
    database.write_bytes(content)
    assert "is damaged" in failure(open_sql(database), SourceRefusedError)


def test_nothing_is_ever_written(database: Path, furnished: Furnished) -> None:
    before = (database.read_bytes(), database.stat().st_mtime_ns)
    source = open_sql(database)
    source.check()
    list(source.runs(furnished.all_ids))
    list(source.histories([Wanted(furnished.runs["FINISHED"], "loss", None, 4)]))
    source.registry()
    with source._store.reading() as (connection, _), pytest.raises(Exception, match="readonly database"):
        connection.exec_driver_sql("DELETE FROM runs")
    assert (database.read_bytes(), database.stat().st_mtime_ns) == before
    assert list(database.parent.iterdir()) == [database]


def test_a_writer_in_the_middle_of_its_work_does_not_matter(database: Path) -> None:
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM experiments")
    assert open_sql(database).experiments() != []
    writer.close()


def test_a_writer_that_locks_for_too_long_makes_the_store_unavailable(database: Path) -> None:
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    source = open_sql(database)
    assert "is locked by a writer for longer than 0.2 s" in failure(source, SourceUnavailableError)
    writer.close()
    source.check()


def test_a_reader_between_two_pages_keeps_no_one_from_writing(database: Path, furnished: Furnished) -> None:
    source = SqlSource(MlflowConfig(tracking_uri=f"sqlite:///{database}"), history_chunk=2)
    pages = source.runs([furnished.bulk], limit=2)
    chunks = source.histories([Wanted(furnished.runs["FINISHED"], "loss", None, 4)])
    next(iter(pages))
    next(iter(chunks))
    writer = sqlite3.connect(database, timeout=0)
    writer.execute("UPDATE experiments SET last_update_time = 1")
    writer.commit()
    writer.close()
    assert next(iter(pages))
    assert next(iter(chunks))


def test_a_store_in_wal_mode_is_read(database: Path) -> None:
    writer = sqlite3.connect(database)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES ('in the log', 'active')")
    writer.commit()
    assert "in the log" in {e.name for e in open_sql(database).experiments()}
    writer.close()


def test_a_store_whose_writer_died_is_unavailable_until_it_is_repaired(database: Path) -> None:
    program = """
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA cache_size = 1")
c.execute("BEGIN IMMEDIATE")
c.execute("UPDATE metrics SET value = value + 1")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program, str(database)], check=False)
    source = open_sql(database)
    assert "was left half-written by a program that died" in failure(source, SourceUnavailableError)
    change(database, "PRAGMA user_version")
    source.check()


def test_a_store_that_is_replaced_is_noticed(database: Path, tmp_path: Path) -> None:
    source = open_sql(database)
    assert len(source.experiments()) > 1
    smaller = tmp_path / "smaller.db"
    shutil.copy(database, smaller)
    change(smaller, "DELETE FROM experiments WHERE experiment_id > 0")
    smaller.replace(database)
    assert [e.name for e in source.experiments()] == ["Default"]
    database.unlink()
    failure(source, SourceUnavailableError)


def test_an_unknown_schema_is_warned_of_once(database: Path) -> None:
    change(database, "UPDATE alembic_version SET version_num = 'feedc0ffee00'")
    source = open_sql(database)
    with capture_logs() as logs:
        source.check()
        source.experiments()
    assert [(line["log_level"], line["revision"]) for line in logs] == [("warning", "feedc0ffee00")]


def test_the_schema_of_the_installed_mlflow_is_known(database: Path) -> None:
    with capture_logs() as logs:
        open_sql(database).check()
    assert logs == []


def test_a_schema_without_a_needed_column_is_refused(database: Path) -> None:
    change(
        database,
        "ALTER TABLE latest_metrics RENAME COLUMN step TO stride",
        "ALTER TABLE tags RENAME TO labels",
    )
    message = failure(open_sql(database), SourceRefusedError)
    assert "(revision dc11669786a5, without latest_metrics.step, table tags): run mlflow db upgrade" in message


def test_a_schema_that_changes_under_the_reader_is_refused(database: Path) -> None:
    source = open_sql(database)
    source.check()
    change(database, "ALTER TABLE runs RENAME COLUMN status TO state")
    with pytest.raises(SourceError):
        list(source.runs(["1"]))
    assert "without runs.status" in failure(source, SourceRefusedError)


def test_stores_from_before_workspaces_and_aliases_are_read(database: Path, furnished: Furnished) -> None:
    before = open_sql(database).experiments()
    assert {experiment.experiment_id for experiment in before} >= set(furnished.experiments.values())
    change(
        database,
        "DROP TABLE registered_model_aliases",
        "CREATE TABLE old_experiments AS SELECT experiment_id, name, lifecycle_stage FROM experiments",
        "DROP TABLE experiments",
        "ALTER TABLE old_experiments RENAME TO experiments",
    )
    source = open_sql(database)
    assert source.experiments() == before
    assert source.registry() == ()
    assert open_sql(database, workspace="default").experiments() == source.experiments()
    assert "has no workspaces: remove mlflow.workspace" in failure(
        open_sql(database, workspace="team"), SourceRefusedError
    )


def test_only_the_chosen_workspace_is_read(database: Path, furnished: Furnished) -> None:
    change(
        database,
        f"UPDATE experiments SET workspace = 'team' WHERE experiment_id = {furnished.bulk}",
        "PRAGMA foreign_keys = OFF",
        "UPDATE model_versions SET workspace = 'team'",
        "UPDATE registered_model_aliases SET workspace = 'team'",
    )
    team, default = open_sql(database, workspace="team"), open_sql(database)
    assert [e.name for e in team.experiments()] == ["bulk"]
    assert "bulk" not in {e.name for e in default.experiments()}
    assert default.registry() == ()
    assert furnished.runs["FINISHED"] in {version.run_id for version in team.registry()}


@pytest.fixture
def spoiled(database: Path, furnished: Furnished) -> Path:
    failed, killed, scheduled = (furnished.runs[s] for s in ("FAILED", "KILLED", "SCHEDULED"))
    change(
        database,
        "PRAGMA ignore_check_constraints = ON",
        f"UPDATE runs SET status = 'SLEEPING' WHERE run_uuid = '{failed}'",
        f"UPDATE latest_metrics SET value = 'many' WHERE run_uuid = '{killed}'",
        f"UPDATE metrics SET timestamp = 'noon' WHERE run_uuid = '{scheduled}' AND step = 1",
        f"UPDATE runs SET name = CAST(X'61FF62' AS TEXT) WHERE run_uuid = '{scheduled}'",
    )
    return database


def test_malformed_rows_are_skipped_and_told_of(spoiled: Path, furnished: Furnished) -> None:
    skipped: list[tuple[str, str]] = []
    source = SqlSource(MlflowConfig(tracking_uri=f"sqlite:///{spoiled}"), on_skipped=lambda *told: skipped.append(told))
    [page] = source.runs([furnished.experiments["main"]])
    names = {run.run_id: run.name for run in page.runs}
    scheduled = furnished.runs["SCHEDULED"]
    assert names.keys() == {furnished.runs[s] for s in ("RUNNING", "SCHEDULED", "FINISHED", "KILLED", "stepless")}
    [killed] = [run for run in page.runs if run.run_id == furnished.runs["KILLED"]]
    assert [(point.key, point.step) for point in killed.latest] == [("loss", 4)], "its history says what is latest"
    assert names[scheduled] == "a\ufffdb"
    [chunk] = source.histories([Wanted(scheduled, "loss", None, 4)])
    assert sorted(p.step for p in chunk.points) == [0, 2, 3, 4]
    assert sorted(skipped) == sorted(
        [
            (f"run {furnished.runs['FAILED']}", "its status is not one of MLflow's"),
            (f"the latest point of run {furnished.runs['KILLED']}", "metric 'loss': its value is not a number"),
            (f"a point of run {scheduled}", "metric 'loss': its timestamp is not a 64-bit integer"),
        ]
    )


@contextmanager
def as_ignore() -> Iterator[None]:
    """Root may read everything, so for a while we are not root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_store_that_may_not_be_read_is_refused(database: Path) -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own directories are closed to others
        Path(place).chmod(0o755)
        store = Path(shutil.copy(database, place))
        store.chmod(0)
        with as_ignore():
            assert "its permissions forbid it" in failure(open_sql(store), SourceRefusedError)


@pytest.fixture
def closed_place(database: Path) -> Iterator[Path]:
    """The store in WAL mode, without a log, in a directory where we may not write."""
    with tempfile.TemporaryDirectory() as place:
        store = Path(shutil.copy(database, Path(place, "mlflow.db")))
        change(store, "PRAGMA journal_mode = WAL")
        assert [path.name for path in store.parent.iterdir()] == ["mlflow.db"]
        store.chmod(0o644)
        store.parent.chmod(0o555)
        yield store
        store.parent.chmod(0o755)


def log_one(store: Path, name: str, *, mode: str = "WAL") -> sqlite3.Connection:
    """A writer, still connected, that committed one experiment."""
    store.parent.chmod(0o755)
    writer = sqlite3.connect(store)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("INSERT INTO experiments (name, lifecycle_stage) VALUES (?, 'active')", (name,))
    writer.commit()
    for path in store.parent.iterdir():
        path.chmod(0o644)
    store.parent.chmod(0o555)
    return writer


def names(source: SqlSource) -> set[str]:
    return {experiment.name for experiment in source.experiments()}


def test_a_wal_store_in_a_read_only_directory_is_read_and_left_alone(closed_place: Path) -> None:
    source = open_sql(closed_place)
    with as_ignore():
        before = source.mark()
        assert "main" in names(source)
    assert before
    assert [path.name for path in closed_place.parent.iterdir()] == ["mlflow.db"]


def test_what_is_written_to_a_wal_store_at_rest_is_read_once_its_writer_is_gone(closed_place: Path) -> None:
    source = open_sql(closed_place)
    with as_ignore():
        assert "later" not in names(source)
    log_one(closed_place, "later").close()
    with as_ignore():
        assert "later" in names(source)


def test_a_log_that_appears_is_read_while_its_writer_is_there(closed_place: Path) -> None:
    source = open_sql(closed_place)
    with as_ignore():
        assert "in the log" not in names(source)
    writer = log_one(closed_place, "in the log")
    assert closed_place.with_name("mlflow.db-wal").stat().st_size > 0
    with as_ignore():
        assert "in the log" in names(source)
    writer.close()
    with as_ignore():
        assert "in the log" in names(source)


def test_a_log_that_its_writer_left_is_named_with_its_directory(closed_place: Path) -> None:
    writer = log_one(closed_place, "unreachable")
    log = closed_place.with_name("mlflow.db-wal").read_bytes()
    writer.close()
    closed_place.parent.chmod(0o755)
    closed_place.with_name("mlflow.db-wal").write_bytes(log)
    closed_place.parent.chmod(0o555)
    source = open_sql(closed_place)
    with as_ignore():
        message = failure(source, SourceRefusedError)
    assert f"is in WAL mode, in which reading mlflow.db-wal takes writing to {closed_place.parent}" in message
    assert "half-written" not in message
    closed_place.parent.chmod(0o755)
    assert "main" in names(source)


def test_a_read_only_wal_file_in_a_writable_directory_is_read(closed_place: Path) -> None:
    closed_place.chmod(0o444)
    closed_place.parent.chmod(0o777)
    with as_ignore():
        assert "main" in names(open_sql(closed_place))


def test_a_store_at_rest_that_is_written_to_while_it_is_read_is_read_again(closed_place: Path) -> None:
    source = open_sql(closed_place)
    with as_ignore():
        names(source)

    def read_and_write() -> None:
        with source._store.reading():
            log_one(closed_place, "meanwhile", mode="DELETE").close()

    with pytest.raises(SourceUnavailableError, match="was written to while it was read"):
        read_and_write()
    with as_ignore():
        assert "meanwhile" in names(source)
