"""An MLflow store in PostgreSQL or MySQL that is not as it should be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceError, SourceRefusedError, SourceUnavailableError
from mlflow_monitoring_exporter.core.values import Run
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from mlflow_monitoring_exporter.source.sql.tables import tags
from tests.parts.databases import PASSWORD, driver_url
from tests.parts.pgbouncer import pgbouncer
from tests.parts.programs import free_port
from tests.source.furnished import Furnished

Change = Callable[..., str]


@pytest.fixture(params=["postgresql", "mysql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def changed(url: str) -> Change:
    """The address with some of its parts changed."""
    return lambda **parts: make_url(url).set(**parts).render_as_string(hide_password=False)


def failure(config: MlflowConfig, kind: type[SourceError]) -> str:
    source = SqlSource(config)
    with pytest.raises(kind) as caught:
        source.check()
    source.close()
    message = str(caught.value)
    assert PASSWORD not in message
    assert "wrong horse" not in message
    assert "\n" not in message
    return message


def test_its_name_holds_no_secret(url: str) -> None:
    server = SqlSource(MlflowConfig(tracking_uri=url)).server
    parts = make_url(url)
    assert server == f"{parts.get_backend_name()}://127.0.0.1:{parts.port}/mlflow"


def test_a_wrong_password_is_refused(changed: Change) -> None:
    message = failure(MlflowConfig(tracking_uri=changed(password="wrong horse")), SourceRefusedError)
    assert "refuses to be read" in message
    assert "check mlflow.tracking_uri" in message


def test_user_and_password_may_come_from_elsewhere(changed: Change) -> None:
    config = {"tracking_uri": changed(username=None, password=None), "username": "mlflow"}
    SqlSource(MlflowConfig.model_validate({**config, "password": PASSWORD})).check()
    message = failure(MlflowConfig.model_validate({**config, "password": "wrong horse"}), SourceRefusedError)
    assert "check mlflow.username and mlflow.password" in message


def test_a_database_that_does_not_exist_is_refused(changed: Change) -> None:
    assert "nowhere" in failure(MlflowConfig(tracking_uri=changed(database="nowhere")), SourceRefusedError)


def test_a_server_that_is_down_is_unavailable(changed: Change) -> None:
    config = MlflowConfig(tracking_uri=changed(port=free_port()), timeout=2.0)
    assert "cannot be read now" in failure(config, SourceUnavailableError)


def test_a_database_without_mlflow_is_refused(url: str, changed: Change) -> None:
    database = "postgres" if url.startswith("postgresql") else "information_schema"
    assert "is not an MLflow store" in failure(
        MlflowConfig(tracking_uri=changed(database=database)), SourceRefusedError
    )


def test_nothing_can_be_written(url: str) -> None:
    source = SqlSource(MlflowConfig(tracking_uri=url))
    with source._store.reading() as (connection, _), pytest.raises(DBAPIError, match=r"(?i)read.only"):
        connection.execute(text("DELETE FROM tags"))
    source.close()


def test_a_connection_that_was_cut_is_made_again(url: str) -> None:
    source = SqlSource(MlflowConfig(tracking_uri=url))
    postgresql = url.startswith("postgresql")
    with source._store.reading() as (connection, _):
        mine = connection.scalar(text("SELECT pg_backend_pid()" if postgresql else "SELECT connection_id()"))
    engine = create_engine(driver_url(url))
    with engine.connect() as killer:
        killer.execute(text(f"SELECT pg_terminate_backend({mine})" if postgresql else f"KILL {mine}"))
    engine.dispose()
    assert source.experiments()
    source.close()


def test_a_reader_keeps_no_one_from_writing(url: str) -> None:
    source = SqlSource(MlflowConfig(tracking_uri=url))
    pages = source.runs([e.experiment_id for e in source.experiments()], limit=2)
    next(pages)
    engine = create_engine(driver_url(url))
    with engine.begin() as writer:
        writer.execute(text("UPDATE experiments SET last_update_time = 1"))
    engine.dispose()
    assert next(pages).runs
    source.close()


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_it_is_read_through_a_pool_as_it_is_without_one(postgresql_url: str, mode: str) -> None:
    with pgbouncer(postgresql_url, pool_mode=mode, pool_size=2) as pooled:
        others = create_engine(driver_url(pooled))
        direct, source = (SqlSource(MlflowConfig(tracking_uri=url)) for url in (postgresql_url, pooled))
        try:
            experiments = sorted(e.experiment_id for e in direct.experiments())
            for _ in range(8):  # more often than a statement is executed before it is prepared
                with others.connect() as other:  # who takes the session that was ours, and leaves another one to us
                    other.execute(text("SELECT 1"))
                    assert sorted(e.experiment_id for e in source.experiments()) == experiments
                    assert everything(source, experiments) == everything(direct, experiments)
            with source._store.reading() as (connection, _):
                assert connection.scalar(text("SHOW transaction_read_only")) == "on"
                assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
                assert connection.scalar(text("SHOW statement_timeout")) == "30s"
            with others.connect() as other:
                assert other.scalar(text("SHOW statement_timeout")) == "0", "nothing of ours stays behind"
        finally:
            direct.close()
            source.close()
            others.dispose()


def everything(source: SqlSource, experiments: list[str]) -> list[Run]:
    return [run for page in source.runs(experiments) for run in page.runs]


def test_odd_cells_that_these_databases_allow_cost_nothing_but_themselves(url: str, furnished: Furnished) -> None:
    """The store is shared with other tests: what is changed is changed back."""
    told: list[tuple[str, str]] = []
    source = SqlSource(MlflowConfig(tracking_uri=url), on_skipped=lambda *one: told.append(one))
    main, killed = furnished.experiments["main"], furnished.runs["KILLED"]
    postgresql = url.startswith("postgresql")
    odd = "value = CAST('NaN' AS double precision)" if postgresql else "is_nan = 1"
    there = "value = 0.2" if postgresql else "is_nan = 0"
    changes = (
        "UPDATE runs SET name = NULL, start_time = NULL, end_time = 9223372036854775807",
        f"UPDATE latest_metrics SET {odd}",
        "UPDATE tags SET value = NULL",
    )
    back = (
        "UPDATE runs SET name = 'KILLED', start_time = 1004, end_time = 9004",
        f"UPDATE latest_metrics SET {there}",
    )
    engine = create_engine(driver_url(url))
    mine = tags.c.run_uuid == killed
    with engine.begin() as writer:
        values = [tuple(row) for row in writer.execute(select(tags.c.key, tags.c.value).where(mine))]
    before = {run.run_id: run for page in source.runs([main]) for run in page.runs}
    try:
        with engine.begin() as writer:
            for change in changes:
                writer.execute(text(f"{change} WHERE run_uuid = :run"), {"run": killed})
        after = {run.run_id: run for page in source.runs([main]) for run in page.runs}
        source.activity([main], 10)
    finally:
        with engine.begin() as writer:
            for change in back:
                writer.execute(text(f"{change} WHERE run_uuid = :run"), {"run": killed})
            for key, value in values:
                writer.execute(update(tags).where(mine, tags.c.key == key).values(value=value))
        engine.dispose()
    run = after.pop(killed)
    assert before.pop(killed).name == "KILLED"
    assert after == before
    assert (run.name, run.start_ms, run.end_ms) == ("", None, 2**63 - 1)
    [point] = run.latest
    assert repr(point.value) == "nan"
    assert told == []
    source.close()
