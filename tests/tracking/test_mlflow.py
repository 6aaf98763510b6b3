"""Replay into a real MLflow: one run for each key, one row for each point, whatever fails on the way."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_monitoring_tracking import ExperimentTracker, Run
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.sending.progress import load as progress_of
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.layout import run_directory
from tests.parts.faulty_proxy import FaultyProxy
from tests.parts.mlflow_server import MlflowServer
from tests.parts.programs import free_port
from tests.tracking.conftest import Programs, Truth
from tests.tracking.spools import keys, only_key


def _settings(directory: Path, url: str, **more: object) -> Settings:
    return load({"tracking_dir": str(directory), "mlflow": {"tracking_uri": url, "timeout": 10}, **more}, {})


def _offline(directory: Path, **more: object) -> ExperimentTracker:
    return ExperimentTracker(
        {"tracking_dir": str(directory), "mode": "offline", "auto_log": {"enabled": False}, **more}
    )


def _run(directory: Path, log: Callable[[Run], None]) -> str:
    """A run that was written without a sender; its key."""
    with _offline(directory).start_run("replayed", "r") as run:
        log(run)
    return run.run_key


def _sender(settings: Settings) -> Sender:
    return Sender(settings.spool_dir, backends(settings), settings.delivery)


def _send(settings: Settings, within: float = 60.0) -> None:
    end = time.monotonic() + within
    while True:
        sender = _sender(settings)
        done = sender.run_once(end)
        sender.stop()
        if done:
            return
        assert time.monotonic() < end, "not everything was sent"


def test_all_that_was_logged_is_there(mlflow: Truth, tmp_path: Path) -> None:
    def log(run: Run) -> None:
        run.log_params({"lr": 0.01, "layers": [1, 2], "text": "ä" * 7000})
        run.set_tags({"team": "red"})
        for step in range(2500):
            run.log_metric("loss", 1 / (step + 1), step=step)
        run.log_metrics({f"m{n}": n for n in range(1500)})
        (tmp_path / "note.txt").write_text("a file")
        run.log_artifact(tmp_path / "note.txt", "notes")

    key = _run(tmp_path, log)
    _send(_settings(tmp_path, mlflow.server.url))
    assert mlflow.points(key, "loss") == [("loss", step, 1 / (step + 1)) for step in range(2500)]
    assert len(mlflow.points(key)) == 4000
    assert mlflow.params(key)["layers"] == "[1, 2]"
    assert mlflow.params(key)["text"] == "ä" * 6000
    assert mlflow.tags(key)["team"] == "red"
    assert mlflow.status(key) == "FINISHED"
    [artifacts] = mlflow.server.directory.glob(f"artifacts/*/{mlflow.run(key)}/artifacts")
    assert (artifacts / "notes" / "note.txt").read_text() == "a file"
    assert (artifacts / "params" / "text.txt").read_text() == "ä" * 7000


def test_equal_values_at_one_step_are_as_many_rows_as_were_logged(mlflow: Truth, tmp_path: Path) -> None:
    def log(run: Run) -> None:
        for _ in range(300):
            run.log_metric("same", 1.0)

    key = _run(tmp_path, log)
    _send(_settings(tmp_path, mlflow.server.url))
    assert len(mlflow.points(key, "same")) == 300


def test_what_is_sent_again_is_stored_once(mlflow: Truth, tmp_path: Path) -> None:
    """All progress is lost, as with a spool that was restored from a copy."""

    def log(run: Run) -> None:
        run.log_param("lr", 1)
        for step in range(1200):
            run.log_metric("loss", step, step=step)

    key = _run(tmp_path, log)
    settings = _settings(tmp_path, mlflow.server.url)
    for _ in range(3):
        _send(settings)
        directory = run_directory(settings.spool_dir, key)
        directory.sent("mlflow").unlink()
        directory.complete.unlink()
    assert len(mlflow.points(key)) == 1200
    assert len(mlflow.runs(key)) == 1


@pytest.mark.parametrize("fault", ["cut", "half", "500", "429", "html"])
def test_answers_that_are_lost_or_wrong_change_nothing(mlflow: Truth, tmp_path: Path, fault: str) -> None:
    asked: dict[str, int] = {}

    def every_other(request: str) -> str | None:
        asked[request] = asked.get(request, 0) + 1
        return fault if asked[request] % 2 else None

    def log(run: Run) -> None:
        run.log_params({f"p{n}": n for n in range(30)})
        for step in range(3000):
            run.log_metric("loss", step, step=step)

    key = _run(tmp_path, log)
    quick = {"backoff_min": 0.01, "backoff_max": 0.05, "breaker_failures": 1000}
    with FaultyProxy(mlflow.server.url, every_other) as proxy:
        _send(_settings(tmp_path, proxy.url, delivery=quick))
    assert len(mlflow.runs(key)) == 1
    assert len(mlflow.points(key)) == 3000
    assert len(mlflow.params(key)) == 30
    assert mlflow.status(key) == "FINISHED"


def test_one_bad_record_is_set_aside_and_the_others_arrive(mlflow: Truth, tmp_path: Path) -> None:
    def first(run: Run) -> None:
        run.log_params({"kept": 1, "conflict": "first"})

    key = _run(tmp_path, first)
    _send(_settings(tmp_path, mlflow.server.url))
    with _offline(tmp_path).start_run("replayed", "r", run_key=key) as run:
        run.log_params({f"p{n}": n for n in range(150)})
        run.log_params({"conflict": "second"})
        for step in range(1500):
            run.log_metric("loss", step, step=step)
        run.log_metric("a@key%that\nMLflow refuses", 1.5)
    _send(_settings(tmp_path, mlflow.server.url))
    assert len(mlflow.points(key, "loss")) == 1500
    assert mlflow.params(key)["conflict"] == "first"
    assert mlflow.tags(key)["tracking.conflict.conflict"] == "second"
    assert len(mlflow.params(key)) == 152
    [odd] = [row for row in mlflow.points(key) if row[0] != "loss"]
    assert odd[2] == 1.5
    assert mlflow.tags(key)[f"tracking.key.{odd[0]}"] == "a@key%that\nMLflow refuses"
    directory = run_directory(tmp_path / "spool", key)
    [line] = directory.set_aside("mlflow").read_text().splitlines()
    assert '"conflict"' in line
    assert progress_of(directory, "mlflow").counts.set_aside == 1


def test_a_run_that_was_deleted_in_mlflow_does_not_hold_up_others(mlflow: Truth, tmp_path: Path) -> None:
    tracker = _offline(tmp_path)
    gone = tracker.start_run("replayed", "gone")
    gone.log_metric("loss", 1.0, step=0)
    settings = _settings(tmp_path, mlflow.server.url)
    _send(settings)
    mlflow.server.post("runs/delete", {"run_id": mlflow.run(gone.run_key)})
    for step in range(1, 10):
        gone.log_metric("loss", 1.0, step=step)
    gone.end()
    other = _run(tmp_path, lambda run: run.log_metric("loss", 2.0, step=0))
    _send(settings)
    assert mlflow.points(other) == [("loss", 0, 2.0)]
    counts = progress_of(run_directory(settings.spool_dir, gone.run_key), "mlflow").counts
    assert (counts.delivered_points, counts.set_aside_points) == (1, 9)


def test_the_sender_of_a_job_that_was_killed_goes_on_where_it_was(online: Programs, mlflow: Truth) -> None:
    process = online.start(
        """
        from tracking import start_experiment
        with start_experiment("killed", "r") as exp:
            for step in range(10_000): exp.log_metric("loss", step, step=step)
            print("logged", flush=True)
            import time; time.sleep(60)
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    key = only_key(online.spool)
    _send(_settings(online.here / "tracking", mlflow.server.url, delivery={"adopt_after": 0}))
    assert [step for _, step, _ in mlflow.points(key)] == list(range(10_000))
    assert mlflow.status(key) == "KILLED"


def test_a_job_ends_at_once_though_the_server_is_dead_and_all_arrives_later(tmp_path: Path, mlflow: Truth) -> None:
    programs = Programs(tmp_path, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"})
    began = time.monotonic()
    programs.run(
        """
        from tracking import start_experiment
        with start_experiment("late", "r") as exp:
            for step in range(5000): exp.log_metric("loss", step, step=step)
        """
    )
    assert time.monotonic() - began < 10
    _send(_settings(tmp_path / "tracking", mlflow.server.url))
    key = only_key(programs.spool)
    assert len(mlflow.points(key)) == 5000
    assert mlflow.status(key) == "FINISHED"


def test_what_a_program_logs_is_in_mlflow_when_it_has_ended(online: Programs, mlflow: Truth) -> None:
    out = online.run(
        """
        from tracking import start_experiment
        with start_experiment("nested", "outer") as outer:
            with start_experiment("nested", "inner", nested=True) as inner:
                inner.log_metric("loss", 1.0, step=0)
            outer.log_metric("loss", 2.0, step=0)
        print(outer.run_key, inner.run_key)
        """
    )
    outer, inner = out.split()
    assert mlflow.points(outer) == [("loss", 0, 2.0)]
    assert mlflow.tags(inner)["mlflow.parentRunId"] == mlflow.run(outer)
    assert mlflow.status(outer) == mlflow.status(inner) == "FINISHED"


def test_a_run_that_goes_on_after_a_restart_is_the_same_run(online: Programs, mlflow: Truth) -> None:
    program = """
        import sys
        from tracking import start_experiment
        with start_experiment("again", "r") as exp:
            exp.log_metric("loss", 1.0, step=int(sys.argv[1]))
            assert exp.wait_synced(30)
            if sys.argv[1] == "0": raise SystemExit(1)
    """
    online.run(program, "0", env={"TRACKING_RUN_KEY": f"again {online.here}"}, code=1)
    assert mlflow.status(f"again {online.here}") == "FAILED"
    online.run(program, "1", env={"TRACKING_RUN_KEY": f"again {online.here}"})
    assert [step for _, step, _ in mlflow.points(f"again {online.here}")] == [0, 1]
    assert mlflow.status(f"again {online.here}") == "FINISHED"


def test_a_run_that_mlflow_has_already_is_gone_on_with(mlflow: Truth, online: Programs) -> None:
    client = MlflowClient(mlflow.server.url)
    experiment = client.create_experiment("made by mlflow run")
    given = client.create_run(experiment, tags={"entry_point": "main"}).info.run_id
    client.set_terminated(given)
    program = """
        from tracking import start_experiment
        with start_experiment("elsewhere", "r", tags={"mine": "1"}) as exp: exp.log_metric("given", 1.0, step=1)
        with start_experiment("elsewhere", "second") as exp: exp.log_metric("given", 2.0, step=2)
    """
    for _ in range(2):  # the second time a process goes on with it
        programs = Programs(online.here, {**online.env, "MLFLOW_RUN_ID": given})
        programs.run(program)
    run = client.get_run(given)
    assert (run.info.experiment_id, run.info.status) == (experiment, "FINISHED")
    assert {"entry_point": "main", "mine": "1", "tracking.run_key": f"mlflow-{given}"}.items() <= run.data.tags.items()
    assert "tracking.mlflow_run_id" not in run.data.tags
    assert {point.value for point in client.get_metric_history(given, "given")} == {1.0}
    assert len(keys(programs.spool)) == 3


def test_a_run_that_mlflow_is_said_to_have_and_has_not_is_set_aside(online: Programs) -> None:
    programs = Programs(online.here, {**online.env, "MLFLOW_RUN_ID": "0" * 32})
    programs.run("from tracking import start_experiment\nwith start_experiment('e') as exp: exp.log_metric('m', 1)")
    directory = run_directory(programs.spool, only_key(programs.spool))
    assert progress_of(directory, "mlflow").counts.set_aside_points == 1
    assert "which MLFLOW_RUN_ID named" in directory.set_aside("mlflow").read_text()


def test_a_store_without_a_server_is_written_through_mlflows_client(tmp_path: Path) -> None:
    import sqlite3

    programs = Programs(tmp_path, {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"})
    programs.run(
        """
        from tracking import start_experiment
        with start_experiment("store", "r") as exp:
            exp.log_metric("loss", 1.0, step=3)
            exp.log_param("lr", 0.1)
            assert exp.wait_synced(100)
        """
    )
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select key, step, value from metrics").fetchall() == [("loss", 3, 1.0)]
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]


def test_two_senders_at_once_make_one_run(mlflow: Truth, tmp_path: Path) -> None:
    """Two nodes whose spools hold parts of one run, as ranks without a shared disk do."""
    keys = []
    for node in ("a", "b"):
        with _offline(tmp_path / node).start_run("shared", "r", run_key=f"shared {tmp_path}") as run:
            for step in range(100):
                run.log_metric(node, step, step=step)
        keys.append(run.run_key)
    senders = [_sender(_settings(tmp_path / node, mlflow.server.url)) for node in ("a", "b")]
    for sender in senders:
        sender.start()
    for sender in senders:
        assert sender.wait_settled(time.monotonic() + 60)
        sender.stop(5)
    assert len(mlflow.runs(keys[0])) == 1
    assert len(mlflow.points(keys[0])) == 200


def test_a_server_that_comes_late_gets_everything_from_a_program_that_still_runs(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server, port = MlflowServer(tmp_path_factory.mktemp("late")), free_port()
    try:
        programs = Programs(tmp_path, {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"})
        (tmp_path / "c.json").write_text('{"delivery": {"breaker_pause": 0.2, "backoff_max": 0.2}}')
        process = programs.start(
            """
            from tracking import start_experiment
            with start_experiment("outage", "r") as exp:
                for step in range(1000): exp.log_metric("loss", step, step=step)
                print("logged", flush=True)
                assert exp.wait_synced(100)
            """,
            env={"TRACKING_CONFIG_PATH": "c.json"},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        server.start(port)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        truth = Truth(server)
        key = only_key(programs.spool)
        assert len(truth.points(key)) == 1000
        assert truth.status(key) == "FINISHED"
    finally:
        server.stop()
