"""A pool of connections between replicas and the database that they share."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mlflow_monitoring_exporter.core.errors import StateRefusedError
from mlflow_monitoring_exporter.state.database import Database, copy_state
from mlflow_monitoring_exporter.state.membership import ReplicaTable
from mlflow_monitoring_exporter.state.postgresql_engine import SCHEMA
from tests.parts.databases import driver_url
from tests.parts.pgbouncer import pgbouncer
from tests.parts.states import States


@pytest.mark.parametrize("size", [1, 5])
def test_a_pool_of_transactions_is_refused_with_advice_and_left_as_it_was(shared: States, size: int) -> None:
    with pgbouncer(shared.url, pool_mode="transaction", pool_size=size) as url:
        for opening in (Database, Database.existing, lambda url: copy_state(url, Path("nowhere"))):
            with pytest.raises(
                StateRefusedError, match=r"pool_mode = transaction\).*PostgreSQL itself, or .* session$"
            ):
                opening(url)
        engine = create_engine(driver_url(url))
        with engine.connect() as connection:
            assert SCHEMA not in str(connection.scalar(text("SHOW search_path"))), "others share its sessions"
        engine.dispose()


def test_a_pool_of_sessions_is_as_good_as_the_database_itself(shared: States) -> None:
    with pgbouncer(shared.url, pool_mode="session") as url:
        database, other = Database(url), Database(shared.url)
        with database.read() as one, database.read() as two:
            for tx in (one, two):
                assert tx.scalar(text("SHOW search_path")) == SCHEMA
                assert tx.scalar(text("SHOW statement_timeout")) == "2min"
                assert tx.scalar(text("SHOW idle_in_transaction_session_timeout")) == "5s"
        mine, theirs = ReplicaTable(database, lease=30), ReplicaTable(other, lease=30)
        mine.join("mine")
        theirs.join("theirs")
        assert list(mine.beat().alive) == ["mine", "theirs"]
        database.close()
        other.close()


def test_the_database_itself_is_never_taken_for_a_pool(shared: States) -> None:
    for _ in range(5):
        Database(shared.url).close()
