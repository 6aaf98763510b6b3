"""Runs in a database: what was logged is there once, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import logging
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

from mlflow_monitoring_tracking import ExperimentTracker, Run
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.backends.contract import Pair, RunGone, RunState, Unauthorized, Unavailable
from mlflow_monitoring_tracking.backends.database.backend import DatabaseBackend
from mlflow_monitoring_tracking.backends.database.connections import Connections
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened, Point
from tests.parts.databases import PASSWORD, PostgresServer, postgres_server
from tests.tracking.conftest import environment


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    address: str = request.getfixturevalue("postgres").url
    rows(address, "DROP SCHEMA public CASCADE", reads=False)
    rows(address, "CREATE SCHEMA public", reads=False)
    return address


def rows(url: str, question: str, *, reads: bool = True, **values: object) -> list[Any]:
    address = make_url(url)
    if address.drivername == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
    engine = create_engine(address)
    try:
        with engine.begin() as connection:
            done = connection.execute(text(question), values)
            return [tuple(row) for row in done] if reads else []
    finally:
        engine.dispose()


def written(directory: Path, log: Callable[[Run], None], **options: Any) -> str:
    """A run in a spool that nobody sends; its key."""
    config = {"tracking_dir": str(directory), "mode": "offline", "auto_log": {"enabled": False}}
    with ExperimentTracker(config).start_run("stored", "a run", **options) as run:
        log(run)
    return run.run_key


def send(directory: Path, url: str) -> bool:
    settings = load({"tracking_dir": str(directory), "database": {"url": url}}, {})
    sender = Sender(settings.spool_dir, backends(settings), settings.delivery)
    done = sender.run_once()
    sender.stop()
    return done


def an_opening(key: str = "k", **more: Any) -> Opened:
    return Opened(FORMAT, key, "stored", None, 1_000, True, "host", 1, **more)


def test_all_that_was_logged_is_there(url: str, tmp_path: Path) -> None:
    def log(run: Run) -> None:
        run.log_params({"lr": 0.01, "text": "ä" * 9000})
        run.set_tags({"team": "blue"})
        run.set_tags({"team": "red"})
        for step in range(3000):
            run.log_metric("loss", 1 / (step + 1), step=step)
        (tmp_path / "note.txt").write_text("a file")
        run.log_artifact(tmp_path / "note.txt")

    key = written(tmp_path, log, tags={"team": "green", "first": "yes"}, description="why")
    assert send(tmp_path, url)
    [(run_id, *run)] = rows(url, "SELECT id, run_key, experiment, name, description, status FROM tracking_runs")
    assert run == [key, "stored", "a run", "why", "FINISHED"]
    assert rows(url, "SELECT step, value FROM tracking_points WHERE key = 'loss' ORDER BY step") == [
        (step, 1 / (step + 1)) for step in range(3000)
    ]
    assert dict(rows(url, "SELECT key, value FROM tracking_params")) == {"lr": "0.01", "text": "ä" * 9000}
    assert dict(rows(url, "SELECT key, value FROM tracking_tags")) == {"team": "red", "first": "yes"}
    [(size, digest)] = rows(url, "SELECT size, sha256 FROM tracking_artifacts WHERE path = 'note.txt'")
    assert (size, digest) == (6, hashlib.sha256(b"a file").hexdigest())
    assert rows(url, "SELECT count(*) FROM tracking_points WHERE run_id = :id", id=run_id) == [(3000,)]


def test_what_is_sent_again_changes_nothing(url: str, tmp_path: Path) -> None:
    """All progress is lost, as with a spool that was restored from a copy."""

    def log(run: Run) -> None:
        run.log_param("lr", 1)
        run.set_tag("team", "red")
        for step in range(1200):
            run.log_metrics({"loss": step, "nan": math.nan, "inf": math.inf}, step=step)

    key = written(tmp_path, log)
    everything = []
    for _ in range(3):
        assert send(tmp_path, url)
        directory = run_directory(tmp_path / "spool", key)
        directory.sent("database").unlink()
        directory.complete.unlink()
        everything.append(
            [rows(url, f"SELECT * FROM tracking_{table} ORDER BY 1, 2") for table in ("runs", "params", "tags")]
            + [rows(url, "SELECT * FROM tracking_points ORDER BY key, step")]
        )
    assert everything[0] == everything[1] == everything[2]
    assert len(everything[0][-1]) == 3600


def test_values_that_are_no_ordinary_numbers_are_told_apart(url: str) -> None:
    backend, state = DatabaseBackend(url), RunState()
    backend.start(an_opening(), None, state)
    values = [1.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.0]
    points = [Point("x", value, None, 5) for value in values]
    for _ in range(2):
        backend.log_points(an_opening(), state, [*points, *points])
    found = [value for (value,) in rows(url, "SELECT value FROM tracking_points")]
    assert sorted(found, key=repr) == sorted([None, *(v for v in values if not math.isnan(v))], key=repr)
    backend.close()


def test_text_that_a_database_cannot_store_is_escaped(url: str) -> None:
    backend, state = DatabaseBackend(url), RunState()
    backend.start(an_opening("k\0y"), None, state)
    backend.log_params(an_opening("k\0y"), state, [Pair("a\0b", "x\ud800y")])
    assert rows(url, "SELECT key, value FROM tracking_params") == [("a\\x00b", "x\\ud800y")]
    assert rows(url, "SELECT run_key FROM tracking_runs") == [("k\\x00y",)]
    backend.close()


def test_a_run_goes_on_after_its_end(url: str, tmp_path: Path) -> None:
    key = written(tmp_path, lambda run: run.log_metric("loss", 1, step=1), run_key="again")
    assert send(tmp_path, url)
    config = {"tracking_dir": str(tmp_path), "mode": "offline", "auto_log": {"enabled": False}}
    run = ExperimentTracker(config).start_run("stored", run_key=key)
    run.log_metric("loss", 2, step=2)
    assert send(tmp_path, url)
    assert rows(url, "SELECT status, end_ms FROM tracking_runs") == [("RUNNING", None)]
    run.end("FAILED")
    assert send(tmp_path, url)
    assert rows(url, "SELECT status FROM tracking_runs") == [("FAILED",)]
    assert rows(url, "SELECT count(*) FROM tracking_points") == [(2,)]


def test_a_deleted_run_is_not_made_again(url: str) -> None:
    backend, state = DatabaseBackend(url), RunState()
    backend.start(an_opening(), None, state)
    rows(url, "DELETE FROM tracking_runs", reads=False)
    with pytest.raises(RunGone):
        backend.log_points(an_opening(), state, [Point("x", 1.0, 1, 1)])
    with pytest.raises(RunGone):
        backend.end(an_opening(), state, "FINISHED", 2)
    with pytest.raises(RunGone):
        backend.start(an_opening(), None, state)
    backend.close()


def test_many_that_begin_at_once_make_the_tables_and_the_run_once(url: str, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from mlflow_monitoring_tracking.backends.database.backend import DatabaseBackend\n"
        "from mlflow_monitoring_tracking.backends.contract import RunState, Unavailable\n"
        "from mlflow_monitoring_tracking.spool.records import Opened, Point\n"
        "run, state, backend = Opened(1, 'k', 'e', None, 1, True, 'h', 1), RunState(), DatabaseBackend(sys.argv[1])\n"
        "def until_it_is_taken(call):\n"
        "    for _ in range(50):\n"
        "        try: return call()\n"
        "        except Unavailable: pass\n"
        "    raise SystemExit('never taken')\n"
        "until_it_is_taken(lambda: backend.start(run, None, state))\n"
        "for n in range(10):\n"
        "    points = [Point('x', float(i), i, 1) for i in range(n * 20, n * 20 + 40)]\n"
        "    until_it_is_taken(lambda: backend.log_points(run, state, points))\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, url], env=environment()) for _ in range(4)]
    assert [process.wait(120) for process in started] == [0] * 4
    assert rows(url, "SELECT count(*) FROM tracking_runs") == [(1,)]
    assert rows(url, "SELECT count(*), count(DISTINCT step) FROM tracking_points") == [(220, 220)]


def test_tables_of_a_later_release_are_left_alone(url: str) -> None:
    DatabaseBackend(url).check()
    rows(url, "UPDATE tracking_schema SET version = 2", reads=False)
    with pytest.raises(Unavailable, match="install a later one"):
        DatabaseBackend(url).check()


def test_a_sender_that_is_killed_leaves_nothing_twice(url: str, tmp_path: Path) -> None:
    def log(run: Run) -> None:
        for step in range(20_000):
            run.log_metric("loss", step, step=step)

    key = written(tmp_path, log)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mlflow_monitoring_tracking.backends.database.backend import DatabaseBackend\n"
        "from mlflow_monitoring_tracking.sending.sender import Sender\n"
        "from mlflow_monitoring_tracking.settings import Delivery\n"
        "backend = DatabaseBackend(sys.argv[2])\n"
        "def log(run, state, points, inner=backend.log_points):\n"
        "    inner(run, state, points); print(len(points), flush=True)\n"
        "backend.log_points = log\n"
        "Sender(Path(sys.argv[1]), {'database': backend}, Delivery()).run_once()\n"
    )
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "spool"), url],
            env=environment(),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.readline()  # one batch is stored, and its progress perhaps not saved
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert send(tmp_path, url)
    assert rows(url, "SELECT count(*), count(DISTINCT step) FROM tracking_points") == [(20_000, 20_000)]
    assert rows(url, "SELECT run_key, status FROM tracking_runs") == [(key, "FINISHED")]


def test_a_server_that_goes_and_comes_back_is_written_to_again() -> None:
    with postgres_server() as server:
        backend, state = DatabaseBackend(server.url), RunState()
        backend.start(an_opening(), None, state)
        server.stop(signal.SIGQUIT)
        with pytest.raises(Unavailable):
            backend.log_points(an_opening(), state, [Point("x", 1.0, 1, 1)])
        server.start()
        backend.log_points(an_opening(), state, [Point("x", 1.0, 1, 1)])
        assert rows(server.url, "SELECT count(*) FROM tracking_points") == [(1,)]
        backend.close()


@pytest.mark.parametrize(("change", "kind"), [({"password": "wrong secret"}, Unauthorized), ({"port": 1}, Unavailable)])
def test_the_password_is_in_no_message(postgres: PostgresServer, change: dict[str, Any], kind: type[Exception]) -> None:
    url = make_url(postgres.url).set(**change)
    with pytest.raises(kind) as caught:
        DatabaseBackend(url.render_as_string(hide_password=False)).check()
    chain = f"{caught.value!s} {caught.value.__cause__!r} {caught.value.__suppress_context__}"
    assert "127.0.0.1" in chain
    assert "True" in chain
    for secret in (PASSWORD, PASSWORD.replace(" ", "%20"), "wrong secret", "wrong%20secret"):
        assert secret not in chain
    assert PASSWORD not in Connections(postgres.url).where


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ({"url": "mysql://u:hidden@h/d"}, "not mysql"),
        ({"url": "no url, hidden"}, "is no URL"),
        ({"enabled": True}, "database.url is needed"),
    ],
)
def test_a_wrong_address_is_said_without_the_address(
    database: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert "database" not in backends(load({"database": database}, {}))
    assert told in caplog.text
    assert "hidden" not in caplog.text


def test_it_is_off_unless_it_is_wanted() -> None:
    assert "database" not in backends(load({}, {}))
    assert "database" not in backends(load({"database": {"enabled": False, "url": "sqlite://"}}, {}))
    assert "database" in backends(load({}, {"TRACKING_DB_URL": "sqlite://"}))


def test_mlflows_own_tables_may_be_beside_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    rows(url, "CREATE TABLE runs (run_uuid TEXT)", reads=False)
    DatabaseBackend(url).check()
    assert set(inspect(create_engine(url)).get_table_names()) >= {"runs", "tracking_runs"}
