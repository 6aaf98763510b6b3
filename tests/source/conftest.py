"""One real server over one store that holds a little of everything; see tests/source/furnished.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from tests.parts import databases
from tests.parts.mlflow_server import MlflowServer
from tests.source.furnished import Furnished, furnish


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real ``mlflow server``, started once, when the first test asks for it."""
    with MlflowServer(tmp_path_factory.mktemp("tracking")) as server:
        yield server


@pytest.fixture(scope="session")
def furnished(tracking_server: MlflowServer) -> Furnished:
    """What was put into the store of the tracking server. Tests leave it as it is."""
    return furnish(tracking_server)


@pytest.fixture
def rest(tracking_server: MlflowServer, furnished: Furnished) -> Iterator[RestSource]:
    source = RestSource(MlflowConfig(tracking_uri=tracking_server.url), stop=threading.Event())
    yield source
    source.close()


@pytest.fixture
def sql(tracking_server: MlflowServer, furnished: Furnished) -> Iterator[SqlSource]:
    source = SqlSource(MlflowConfig(tracking_uri=tracking_server.store_uri))
    yield source
    source.close()


@pytest.fixture(scope="session")
def postgresql_url(tracking_server: MlflowServer, furnished: Furnished) -> Iterator[str]:
    """The furnished store, copied to PostgreSQL."""
    with databases.postgresql() as url:
        databases.copy_store(tracking_server.database, url)
        yield url


@pytest.fixture(scope="session")
def mysql_url(tracking_server: MlflowServer, furnished: Furnished) -> Iterator[str]:
    """The furnished store, copied to MariaDB."""
    with databases.mysql() as url:
        databases.copy_store(tracking_server.database, url)
        yield url


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[SqlSource]:
    source = SqlSource(MlflowConfig(tracking_uri=postgresql_url))
    yield source
    source.close()


@pytest.fixture
def mysql(mysql_url: str) -> Iterator[SqlSource]:
    source = SqlSource(MlflowConfig(tracking_uri=mysql_url))
    yield source
    source.close()
