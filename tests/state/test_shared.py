"""What only a database has that many replicas share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from procrastinate.schema import SchemaManager
from sqlalchemy import create_engine, text

from mlflow_monitoring_exporter.core.errors import StateError, StateRefusedError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.migrations import configuration
from mlflow_monitoring_exporter.state.postgresql_engine import REVISION, SCHEMA
from mlflow_monitoring_exporter.state.schema import metadata
from tests.parts.databases import driver_url
from tests.parts.states import States, drop


@pytest.fixture
def nothing(postgresql: str) -> Iterator[str]:
    """The URL of a database that no release has ever seen."""
    drop(postgresql)
    yield postgresql
    drop(postgresql)


def test_the_migrations_make_the_tables_that_the_schema_describes(nothing: str) -> None:
    Database(nothing).close()
    engine = create_engine(driver_url(nothing), connect_args={"options": f"-c search_path={SCHEMA}"})
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _ours, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    assert ScriptDirectory.from_config(configuration()).get_heads() == [REVISION]


def _ours(_thing: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    return not (kind == "table" and str(name).startswith(("procrastinate_", "alembic_")))


def test_procrastinate_has_the_tables_that_its_release_needs(nothing: str) -> None:
    """A release of Procrastinate with other tables needs a revision of ours."""
    Database(nothing).close()
    engine = create_engine(driver_url(nothing))
    with engine.connect() as connection:
        connection.execute(text("CREATE SCHEMA fresh"))
        connection.execute(text("SET search_path TO fresh"))
        connection.connection.cursor().execute(SchemaManager.get_schema())
        columns = text(
            "SELECT table_name, column_name, data_type, column_default IS NULL FROM information_schema.columns "
            "WHERE table_schema = :schema AND table_name LIKE 'procrastinate%' ORDER BY 1, 2"
        )
        functions = text(
            "SELECT proname, prosrc FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace "
            "WHERE nspname = :schema ORDER BY 1"
        )
        for query in (columns, functions):
            ours, theirs = (connection.execute(query, {"schema": s}).all() for s in (SCHEMA, "fresh"))
            assert ours == theirs != []
        connection.rollback()
    engine.dispose()


def test_three_that_start_at_the_same_time_on_nothing_find_the_same_tables(nothing: str) -> None:
    together = threading.Barrier(3)
    opened: list[Database] = []

    def start() -> None:
        together.wait()
        opened.append(Database(nothing))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 3
    for database in opened:
        with database.read() as tx:
            assert tx.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [REVISION]
        database.close()


def test_tables_of_a_newer_release_are_left_alone(nothing: str) -> None:
    database = Database(nothing)
    with database.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StateError, match=r"\(schema 9999\).*knows schemas up to \d+: use release"):
        Database(nothing)


def test_it_lives_beside_somebody_elses_tables_of_the_same_names(nothing: str) -> None:
    engine = create_engine(driver_url(nothing))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE public.alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO public.alembic_version VALUES ('of MLflow')"))
    Database(nothing).close()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM public.alembic_version")).scalar() == "of MLflow"
        connection.execute(text("DROP TABLE public.alembic_version"))
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("correct%20horse", "battery"), "refuses to be used.*authentication failed.*check state.url"),
        (("/mlflow", "/nowhere"), "refuses to be used.*does not exist.*check state.url"),
    ],
)
def test_a_wrong_address_says_so_without_the_password(postgresql: str, change: tuple[str, str], said: str) -> None:
    with pytest.raises(StateRefusedError, match=said) as caught:
        Database(change[1].join(postgresql.rsplit(change[0], 1)))
    assert "horse" not in str(caught.value)
    assert "battery" not in str(caught.value)


def test_a_server_that_is_not_there_may_come_back(postgresql: str) -> None:
    with pytest.raises(StateError, match="cannot be used now") as caught:
        Database("postgresql://mlflow:secret@127.0.0.1:9/mlflow")
    assert not isinstance(caught.value, StateRefusedError)


def test_a_copy_holds_everything(kept: States, tmp_path_factory: pytest.TempPathFactory) -> None:
    from mlflow_monitoring_exporter.state.outbox import Outbox
    from tests.state.test_outbox import samples

    database = kept.empty()
    outbox = Outbox(database)
    queue = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, queue, samples(7), batch_size=3, partition=5 if kept.shared else 0)
    path = tmp_path_factory.mktemp("copy") / "state.db"
    database.copy_to(path)
    copy = Database(f"sqlite:///{path}")
    assert Outbox(copy).ledger(queue) == outbox.ledger(queue)
    assert Outbox(copy).head(queue) == outbox.head(queue)
    copy.close()


def test_a_server_that_knows_no_encoding_gives_text_all_the_same(postgresql: str) -> None:
    """As one does that was set up without a locale, in a small container for example."""
    engine = create_engine(driver_url(postgresql), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS plain"))
        connection.execute(text("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'"))
    engine.dispose()
    url = postgresql.removesuffix("/mlflow") + "/plain"
    database = Database(url)
    with database.write() as tx:
        tx.execute(text("INSERT INTO meta VALUES ('key', 'ключ 🚀')"))
    with database.read() as tx:
        assert tx.execute(text("SELECT value FROM meta WHERE key = 'key'")).scalar() == "ключ 🚀"
    database.close()
