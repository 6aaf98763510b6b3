"""Whatever the state does, it does in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.state import postgresql_engine
from mlflow_monitoring_exporter.state.database import Database
from tests.parts import databases, states
from tests.parts.states import States


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a database without any state."""
    with databases.postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[States]:
    """Where the state is kept."""
    # A replica that stands still inside a transaction loses it after seconds; a busy machine makes a test stand still.
    patient = postgresql_engine.SETTINGS.replace("session_timeout', '5s'", "session_timeout', '300s'")
    assert patient != postgresql_engine.SETTINGS
    monkeypatch.setattr(postgresql_engine, "SETTINGS", patient)
    found = (
        States(request.getfixturevalue("postgresql"))
        if request.param == "postgresql"
        else states.of_directory(tmp_path)
    )
    yield found
    found.close()


@pytest.fixture
def database(kept: States) -> Database:
    return kept.empty()


@pytest.fixture
def shared(postgresql: str) -> Iterator[States]:
    """Empty, in the database that many may share."""
    found = States(postgresql)
    found.empty()
    yield found
    found.close()
