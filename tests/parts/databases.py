"""Real PostgreSQL and MariaDB servers on free ports, with an MLflow store in them.

::

    with PostgresServer(directory) as server:
        server.url                      postgresql://mlflow:secret@127.0.0.1:.../mlflow

MariaDB speaks MySQL's protocol, and is what Debian has.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError

from tests.parts.programs import TEMPORARY, free_port, need

_READY_WITHIN = 60.0
PASSWORD = "correct horse"


class PostgresServer:
    """A PostgreSQL server of its own, with an empty database."""

    def __init__(self, directory: Path, command: Sequence[str], user: str, port: int) -> None:
        self._directory = directory
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._server = f"postgresql://mlflow:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}"
        self.url = f"{self._server}/mlflow"

    def start(self, statement: str = "SELECT 1") -> None:
        """Return once it answers."""
        self._process = _start(self._command, self._user, self._directory)
        _until_it_answers(f"{self._server}/postgres".replace("://", "+psycopg://"), statement)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Tell its clients to go (SIGINT), or cut them off as a crash would (SIGQUIT)."""
        process, self._process = self._process, None
        if process is not None:
            _stop(process, how)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database in a new PostgreSQL server."""
    with postgres_server() as server:
        yield server.url


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """One that tests may stop and start."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    initdb = str(programs[-1] / "initdb") if programs else need("initdb")
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    with _directory(user) as directory, ExitStack() as stack:
        secret = directory / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data, port = directory / "data", free_port()
        _run([initdb, "-D", str(data), "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", str(secret)], user)
        server = [str(Path(initdb).with_name("postgres")), "-D", str(data), "-p", str(port), "-k", str(directory)]
        options = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        found = PostgresServer(directory, [*server, *options], user, port)
        stack.callback(found.stop)
        found.start("CREATE DATABASE mlflow")
        yield found


@contextmanager
def mysql() -> Iterator[str]:
    """The URL of a database in a new MariaDB server."""
    need("mariadbd")
    user = "mysql" if os.geteuid() == 0 else getpass.getuser()
    with _directory(user) as directory, ExitStack() as stack:
        data, port = directory / "data", free_port()
        # Without --no-defaults it would share what /etc/mysql names, a PID file among them, with every other one.
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}"]
        _run([*install, "--auth-root-authentication-method=normal"], user)
        setup = directory / "setup.sql"
        # Of such a file, each line is one statement.
        setup.write_text(
            "CREATE DATABASE mlflow CHARACTER SET utf8mb4;\n"
            f"CREATE USER mlflow@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            "GRANT ALL ON mlflow.* TO mlflow@'127.0.0.1';\n"
        )
        setup.chmod(0o644)
        server = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}", f"--socket={directory}/socket"]
        places = [f"--init-file={setup}", f"--pid-file={directory}/pid"]
        options = ["--bind-address=127.0.0.1", "--skip-name-resolve", *places]
        stack.enter_context(_running([*server, *options], user, directory))
        url = f"mysql://mlflow:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{port}/mlflow"
        _until_it_answers(url.replace("://", "+pymysql://"), "SELECT 1")
        yield url


def driver_url(url: str) -> str:
    """``url`` as MLflow needs it: with the driver's name."""
    return url.replace("postgresql://", "postgresql+psycopg://").replace("mysql://", "mysql+pymysql://")


def copy_store(database: Path, url: str) -> None:
    """All rows of an MLflow store in SQLite, in tables that MLflow itself creates in another database."""
    from mlflow.store.db.utils import _initialize_tables

    target = create_engine(driver_url(url))
    _initialize_tables(target)
    source = create_engine(f"sqlite:///{database}")
    tables, originals = MetaData(), MetaData()
    tables.reflect(target)
    originals.reflect(source)
    with source.connect() as rows, target.begin() as connection:
        if target.name == "mysql":
            connection.execute(text("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'"))  # experiment 0 is 0
        for table in reversed(tables.sorted_tables):
            connection.execute(table.delete())
        for table in tables.sorted_tables:
            if found := [dict(row._mapping) for row in rows.execute(select(originals.tables[table.name]))]:
                for start in range(0, len(found), 5000):
                    connection.execute(insert(table), found[start : start + 5000])
        if target.name == "postgresql":
            sequence = "pg_get_serial_sequence('experiments', 'experiment_id')"
            connection.execute(text(f"SELECT setval({sequence}, (SELECT max(experiment_id) FROM experiments))"))
    target.dispose()
    source.dispose()


@contextmanager
def _directory(user: str) -> Iterator[Path]:
    """A place that the server's own user may write: as root it refuses to run."""
    path = Path(tempfile.mkdtemp(prefix="database-", dir=TEMPORARY))
    try:
        if os.geteuid() == 0:
            try:
                entry = pwd.getpwnam(user)
            except KeyError:
                pytest.fail(f"there is no user {user}: is the server's package installed?")
            os.chown(path, entry.pw_uid, entry.pw_gid)
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _run(command: Sequence[str], user: str) -> None:
    done = subprocess.run(command, user=_other(user), cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _running(command: Sequence[str], user: str, directory: Path) -> Iterator[None]:
    process = _start(command, user, directory)
    try:
        yield
    finally:
        _stop(process, signal.SIGTERM)


def _start(command: Sequence[str], user: str, directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(command, user=_other(user), cwd="/", stdout=log, stderr=subprocess.STDOUT)


def _stop(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _other(user: str) -> str | None:
    return user if os.geteuid() == 0 else None


def _until_it_answers(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    end = time.monotonic() + _READY_WITHIN
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        except DBAPIError:
            assert time.monotonic() < end, f"{engine.url} did not answer"
            time.sleep(0.1)
        else:
            engine.dispose()
            return
