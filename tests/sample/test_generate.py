"""What generate writes is what the daemon's own reader finds."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from pydantic import SecretStr

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import SourceRefusedError, SourceUnavailableError
from mlflow_monitoring_exporter.core.values import RunStatus
from mlflow_monitoring_exporter.source.protocol import Wanted
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from tests.parts.bad_server import answer, bad_server, hang, html
from tests.parts.mlflow_server import MlflowServer
from tests.parts.programs import free_port
from tests.sample.conftest import Filled, fill, read

SEARCH = b'{"experiments": [{"experiment_id": "0", "name": "Default"}]}'
JSON = {"Content-Type": "application/json"}


def test_a_missing_store_is_made_with_its_directory_and_filled(filled: Filled) -> None:
    experiments, runs, _ = read(filled.config)
    assert filled.generated.runs == len(runs) == 24
    assert filled.generated.experiments == len(experiments) - 1 == 5  # MLflow adds its own, Default
    assert filled.progress == [(done, 24) for done in range(25)]


def test_the_reader_finds_every_point(filled: Filled) -> None:
    _, runs, _ = read(filled.config)
    source = SqlSource(filled.config)
    chunks = list(source.histories(Wanted(run.run_id, p.key, None, p.step) for run in runs for p in run.latest))
    source.close()
    assert sum(len(chunk.points) for chunk in chunks) == filled.generated.points


def test_the_reader_finds_all_statuses_and_a_loss_that_is_not_a_number(filled: Filled) -> None:
    _, runs, _ = read(filled.config)
    statuses = Counter(run.status for run in runs)
    assert statuses[RunStatus.FINISHED] > 8
    assert min(statuses[s] for s in (RunStatus.FAILED, RunStatus.KILLED, RunStatus.RUNNING)) >= 1
    assert all((run.end_ms is None) == (run.status is RunStatus.RUNNING) for run in runs)
    assert any(math.isnan(p.value) for run in runs for p in run.latest if run.status is RunStatus.FAILED)
    assert all((run.start_ms or 0) <= time.time() * 1000 for run in runs)


def test_the_reader_finds_children_below_their_parent(filled: Filled) -> None:
    _, runs, _ = read(filled.config)
    by_id = {run.run_id: run for run in runs}
    children = [run for run in runs if run.parent_run_id]
    assert children
    for child in children:
        parent = by_id[child.parent_run_id or ""]
        assert parent.experiment_id == child.experiment_id
        assert parent.name.startswith("sweep-")


def test_accuracy_occurs_in_several_experiments(filled: Filled) -> None:
    experiments, runs, _ = read(filled.config)
    having = {experiments[run.experiment_id] for run in runs if any(p.key == "accuracy" for p in run.latest)}
    assert having == {"churn-classifier", "image-classifier", "churn-tuning"}


def test_the_champion_is_in_the_registry_under_its_run(filled: Filled) -> None:
    experiments, runs, stages = read(filled.config)
    assert sorted(stages.values()) == ["challenger", "champion"]
    (champion,) = [run for run in runs if stages.get(run.run_id) == "champion"]
    assert experiments[champion.experiment_id] == "churn-classifier"
    assert champion.tags["stage"] == "production"


def test_generating_again_adds_runs_to_the_same_experiments_and_moves_the_alias(sqlite: MlflowConfig) -> None:
    fill(sqlite, runs=8)
    names, _, before = read(sqlite)
    fill(sqlite, runs=3, seed=8)
    names_after, runs, after = read(sqlite)
    assert names_after == names
    assert len(runs) == 11
    (old,) = [run_id for run_id, alias in before.items() if "champion" in alias]
    (new,) = [run_id for run_id, alias in after.items() if "champion" in alias]
    assert new != old


def test_runs_go_into_the_workspace_that_is_configured(tmp_path: Path) -> None:
    config = MlflowConfig(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", workspace="team-a")
    fill(config, runs=2)
    assert len(read(config)[1]) == 2
    assert read(config.model_copy(update={"workspace": None}))[1] == []


def test_a_deleted_experiment_of_the_same_name_is_a_clear_error_before_anything_is_written(
    sqlite: MlflowConfig,
) -> None:
    fill(sqlite, runs=1)
    with database(sqlite) as connection:
        connection.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE name = 'churn-classifier'")
    with pytest.raises(SourceRefusedError, match=r"experiment churn-classifier is deleted.*--experiment-id 1"):
        fill(sqlite, runs=1)
    with database(sqlite) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def test_a_store_of_another_mlflow_version_is_not_migrated_unasked(sqlite: MlflowConfig) -> None:
    fill(sqlite, runs=1)
    with database(sqlite) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'abcdefabcdef'")
    with pytest.raises(SourceRefusedError, match="has MLflow's schema abcdefabcdef"):
        fill(sqlite, runs=1)


def test_a_database_of_somebody_else_stays_as_it_is(sqlite: MlflowConfig) -> None:
    with database(sqlite) as connection:
        connection.execute("CREATE TABLE accounts (id)")
    with pytest.raises(SourceRefusedError, match="not an MLflow store"):
        fill(sqlite, runs=1)
    with database(sqlite) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("accounts",)]


def test_a_path_that_cannot_be_a_directory_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceRefusedError, match=r"m\.db cannot be created"):
        fill(MlflowConfig(tracking_uri=f"sqlite:///{tmp_path / 'file' / 'm.db'}"), runs=1)


def test_a_store_that_is_locked_for_long_is_a_clear_error(sqlite: MlflowConfig) -> None:
    fill(sqlite, runs=1)
    with database(sqlite) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceUnavailableError, match="locked by a writer"):
            fill(sqlite.model_copy(update={"timeout": 0.5}), runs=1)


@pytest.mark.timeout(60)
def test_a_dead_server_is_one_clear_line_without_the_password_in_time() -> None:
    url = f"http://somebody:secret@127.0.0.1:{free_port()}"
    begun = time.monotonic()
    with pytest.raises(SourceUnavailableError) as raised:
        fill(MlflowConfig(tracking_uri=url), runs=3)
    assert time.monotonic() - begun < 20
    assert "cannot be reached: connection refused; start the server" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.timeout(60)
def test_a_silent_server_is_given_up_in_time() -> None:
    with bad_server(hang()) as server:
        begun = time.monotonic()
        with pytest.raises(SourceUnavailableError, match="cannot be reached"):
            fill(MlflowConfig(tracking_uri=server.url), runs=3)
        assert time.monotonic() - begun < 20


@pytest.mark.timeout(60)
def test_a_server_that_dies_after_the_first_answer_is_a_clear_error() -> None:
    with bad_server(answer(200, JSON, SEARCH), answer(503)) as server:
        with pytest.raises(SourceUnavailableError, match="does not answer any more") as raised:
            fill(MlflowConfig(tracking_uri=server.url), runs=3)
        assert "\n" not in str(raised.value)


def test_something_that_is_no_mlflow_server_is_a_clear_error() -> None:
    with bad_server(html()) as server, pytest.raises(SourceRefusedError, match="an HTML page instead of JSON"):
        fill(MlflowConfig(tracking_uri=server.url), runs=3)


def test_a_user_who_may_read_but_not_write_is_told_so() -> None:
    denied = answer(403, JSON, b'{"error_code": "PERMISSION_DENIED", "message": "no"}')
    with (
        bad_server(answer(200, JSON, SEARCH), denied) as server,
        pytest.raises(SourceRefusedError, match="does not permit this user to write"),
    ):
        fill(MlflowConfig(tracking_uri=server.url), runs=3)


@pytest.mark.parametrize(
    ("user", "config", "header"),
    [
        ("", {"username": "ann", "password": SecretStr("geheim")}, "Basic YW5uOmdlaGVpbQ=="),
        ("ann:geheim@", {}, "Basic YW5uOmdlaGVpbQ=="),
        ("", {"token": SecretStr("abcd")}, "Bearer abcd"),
        ("", {}, None),
    ],
)
def test_mlflow_sends_the_configured_credentials_and_no_others(
    user: str, config: dict[str, object], header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "of the shell")
    before = dict(os.environ)
    with bad_server(answer(200, JSON, SEARCH), answer(403)) as server:
        url = server.url.replace("http://", f"http://{user}")
        with pytest.raises(SourceRefusedError):
            fill(MlflowConfig(tracking_uri=url, **config), runs=3)
        assert len(server.requests) >= 2
        assert {request.headers.get("authorization") for request in server.requests} == {header}
    assert dict(os.environ) == before


def test_mlflow_sends_the_configured_workspace() -> None:
    info = answer(200, JSON, b'{"workspaces_enabled": true}')
    with bad_server(answer(200, JSON, SEARCH), info, answer(403)) as server:
        with pytest.raises(SourceRefusedError, match="to write"):
            fill(MlflowConfig(tracking_uri=server.url, workspace="blue"), runs=3)
        # The question whether there are workspaces is asked outside of any.
        assert [r.headers.get("x-mlflow-workspace") for r in server.requests if "server-info" not in r.path] == [
            "blue"
        ] * (len(server.requests) - 1)


def test_a_command_that_generates_prints_nothing(tmp_path: Path) -> None:
    """In a process of its own, because mlflow sets up its logging on import."""
    config = f"MlflowConfig(tracking_uri='sqlite:///{tmp_path}/a/mlflow.db')"
    done = script(f"generate({config}, runs=8, seed=1, progress=lambda *_: None)", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_the_room_can_be_imported_without_loading_mlflow(tmp_path: Path) -> None:
    done = script("import sys, mlflow_monitoring_exporter.sample.live; print('mlflow' in sys.modules)", tmp_path)
    assert done.stdout == "False\n", done.stderr


def test_over_http_a_real_server_takes_everything(tracking_server: MlflowServer) -> None:
    fill(MlflowConfig(tracking_uri=tracking_server.url), runs=8)
    experiments, runs, stages = read(MlflowConfig(tracking_uri=tracking_server.store_uri))
    assert len(experiments) == 6
    assert len(runs) == 8
    assert {run.status for run in runs} == set(RunStatus) - {RunStatus.SCHEDULED}
    assert any(math.isnan(point.value) for run in runs for point in run.latest)
    assert "champion" in stages.values()


def test_a_workspace_on_a_server_without_any_is_a_clear_error(tracking_server: MlflowServer) -> None:
    with pytest.raises(SourceRefusedError, match="workspaces are not enabled"):
        fill(MlflowConfig(tracking_uri=tracking_server.url, workspace="team-a"), runs=1)


def database(config: MlflowConfig) -> sqlite3.Connection:
    return sqlite3.connect(config.tracking_uri.removeprefix("sqlite:///"))


def script(body: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    head = (
        "from mlflow_monitoring_exporter.config.schema import MlflowConfig\n"
        "from mlflow_monitoring_exporter.sample.generate import generate\n"
    )
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", head + body],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
