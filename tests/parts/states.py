"""Empty state databases, as many as a test wants, in a file or in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.postgresql_engine import SCHEMA
from mlflow_monitoring_exporter.state.schema import metadata
from tests.parts.databases import driver_url


@dataclass
class States:
    """Those of one ``url``; for ``sqlite:///`` the URL of a directory."""

    url: str
    count: int = 0
    opened: list[Database] = field(default_factory=list)

    @property
    def shared(self) -> bool:
        return self.url.startswith("postgresql:")

    def empty(self) -> Database:
        """One that nobody has used before."""
        self.close()
        self.count += 1
        if self.shared:
            clear(self.url)
        return self.again()

    def again(self) -> Database:
        """The one that was empty last, as it is now."""
        database = Database(self.url if self.shared else f"{self.url}/{self.count}.db")
        self.opened.append(database)
        return database

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()


def of_directory(directory: Path) -> States:
    return States(f"sqlite:///{directory}")


def clear(url: str) -> None:
    """Forget what is there: tables that exist stay, for to make them takes longer than a test."""
    engine = create_engine(driver_url(url))
    names = [f"{SCHEMA}.{name}" for name in (*metadata.tables, "procrastinate_jobs", "procrastinate_workers")]
    try:
        with engine.begin() as connection:
            connection.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
    except ProgrammingError:
        drop(url)
    finally:
        engine.dispose()


def drop(url: str) -> None:
    """Nothing is there any more."""
    engine = create_engine(driver_url(url))
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
    engine.dispose()
