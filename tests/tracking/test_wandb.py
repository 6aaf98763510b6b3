"""Replay into W&B with its real client, against a server that speaks its protocol: each row once, whatever fails."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_tracking import ExperimentTracker, Run
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.backends.contract import RunGone, RunMoved, RunState, Unauthorized, Unavailable
from mlflow_monitoring_tracking.backends.wandb.backend import WandbBackend
from mlflow_monitoring_tracking.backends.wandb.client import STEP_KEY
from mlflow_monitoring_tracking.backends.wandb.journal import Journal, Mark
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.sending.progress import load as progress_of
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.settings import Settings, Wandb
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened, Point
from tests.parts.wandb_server import WandbServer
from tests.tracking.conftest import Programs, environment
from tests.tracking.spools import only_key, points

_KEY = "a" * 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        for name, value in variables(server).items():
            monkeypatch.setenv(name, value)
        yield server


def variables(server: WandbServer) -> dict[str, str]:
    return {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": _KEY, "WANDB_ERROR_REPORTING": "false"}


def settings_of(directory: Path) -> Settings:
    wandb = {"enabled": True, "project": "p", "entity": "team"}
    return load({"tracking_dir": str(directory), "local": {"enabled": False}, "wandb": wandb}, {})


def written(directory: Path, log: Callable[[Run], None], **options: Any) -> str:
    """A run in a spool that nobody sends; its key."""
    config = {"tracking_dir": str(directory), "mode": "offline", "auto_log": {"enabled": False}}
    with ExperimentTracker(config).start_run("bought", "a run", **options) as run:
        log(run)
    return run.run_key


def send(directory: Path, within: float = 120.0) -> None:
    settings, end = settings_of(directory), time.monotonic() + within
    done = False
    while not done:
        assert time.monotonic() < end, "not everything was sent"
        sender = Sender(settings.spool_dir, backends(settings), settings.delivery)
        done = sender.run_once(end)
        sender.stop()


def logged(directory: Path, key: str) -> Counter[tuple[str, int | None, str]]:
    return Counter((p.key, p.step, repr(p.value)) for p in points(directory / "spool", key))


def stored(server: WandbServer, key: str) -> Counter[tuple[str, int | None, str]]:
    return Counter((name, step, repr(float(value))) for name, step, value in server.run(key).points(STEP_KEY))


def test_every_key_step_and_value_is_there(server: WandbServer, tmp_path: Path) -> None:
    def log(run: Run) -> None:
        run.log_params({"lr": 0.01, "layers": [1, 2]})
        run.set_tags({"team": "red"})
        for step in range(1200):
            run.log_metrics({"loss": 1 / (step + 1), "acc": step / 7}, step=step)
        for _ in range(5):
            run.log_metric("same", 1.0)
        run.log_metric("back", 2.0, step=3)  # below the steps of others
        run.log_metrics({"nan": math.nan, "inf": math.inf, "a.b/c d": 5e-324, "ä": -0.1, "_step": 7}, step=2**40)
        (tmp_path / "note.txt").write_text("a file")
        run.log_artifact(tmp_path / "note.txt", "notes")

    key = written(tmp_path, log, description="why", tags={"first": "yes"})
    expected = logged(tmp_path, key)
    send(tmp_path)
    run = server.run(key)
    escaped = Counter({("metric/_step" if k == "_step" else k, s, v): n for (k, s, v), n in expected.items()})
    assert stored(server, key) == escaped
    assert len(run.rows()) == 1200 + 5 + 1 + 1  # one for each call
    assert run.rows()[0]["_timestamp"] == pytest.approx(time.time(), abs=300)
    assert run.settings() == {
        "lr": "0.01",
        "layers": "[1, 2]",
        "tag/team": "red",
        "tag/first": "yes",
        "tracking.run_key": key,
    }
    assert (run.display_name, run.group, run.notes, run.exit_code) == ("a run", "bought", "why", 0)
    assert run.files["notes/note.txt"] == b"a file"


def test_a_training_that_is_killed_is_there_whole_and_never_imported_the_client(
    server: WandbServer, offline: Programs
) -> None:
    program = """
        import os, signal, sys
        from mlflow_monitoring_tracking import ExperimentTracker
        run = ExperimentTracker({"mode": "offline"}).start_run("bought")
        for step in range(3000):
            run.log_metric("loss", step / 3, step=step)
        assert not [name for name in sys.modules if name.partition(".")[0] == "wandb"]
        os.kill(os.getpid(), signal.SIGKILL)
    """
    offline.run(program, code=-signal.SIGKILL)
    config = offline.here / "config.json"
    config.write_text(json.dumps({"wandb": {"enabled": True, "project": "p"}, "delivery": {"adopt_after": 0}}))
    synced = subprocess.run(
        [sys.executable, "-m", "mlflow_monitoring_tracking", "sync", "--config", str(config), "tracking"],
        cwd=offline.here,
        env=environment(**variables(server)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert synced.returncode == 0, synced
    key = only_key(offline.spool)
    assert server.run(key).points(STEP_KEY) == [("loss", step, step / 3) for step in range(3000)]
    assert server.run(key).exit_code == 255


def test_senders_that_are_killed_leave_each_row_once(server: WandbServer, tmp_path: Path) -> None:
    def log(run: Run) -> None:
        for step in range(6000):
            run.log_metrics({"loss": step, "acc": step / 7}, step=step)

    key = written(tmp_path, log)
    expected = logged(tmp_path, key)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mlflow_monitoring_tracking.backends.wandb.backend import WandbBackend\n"
        "from mlflow_monitoring_tracking.sending.sender import Sender\n"
        "from mlflow_monitoring_tracking.settings import Delivery, Wandb\n"
        "backend = WandbBackend(Wandb(True, 'p', 'team'))\n"
        "def log(run, state, points, inner=backend.log_points):\n"
        "    inner(run, state, points); print(len(points), flush=True)\n"
        "backend.log_points = log\n"
        "Sender(Path(sys.argv[1]), {'wandb': backend}, Delivery()).run_once()\n"
    )
    for batches in (1, 2, 1, 3, 1):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "spool")],
            env=environment(**variables(server)),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(batches):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    send(tmp_path)
    run = server.run(key)
    assert stored(server, key) == expected
    assert run.replaced == 0
    assert run.created == 1
    assert [row["_step"] for row in run.rows()] == list(range(len(run.rows())))


def test_several_writers_and_a_kill_between_them_change_no_number(server: WandbServer, tmp_path: Path) -> None:
    """The writer that sorts first writes more before the batch comes again: the same points in another order."""
    backend, state = WandbBackend(Wandb(True, "p", "team")), RunState(directory=tmp_path / "own")
    run = Opened(FORMAT, "two-writers", "bought", None, 1, True, "host", 1)
    first = [Point("a", float(n), n, 1000 + n) for n in range(50)]
    second = [Point("b", float(n), n, 2000 + n) for n in range(50)]
    more = [Point("a", float(n), n, 3000 + n) for n in range(50, 90)]
    backend.start(run, None, state)
    backend.log_points(run, state, [*first, *second])
    backend.close()  # and its progress was not saved: the notes are those of before
    backend, state = WandbBackend(Wandb(True, "p", "team")), RunState(directory=tmp_path / "own")
    backend.start(run, None, state)
    backend.log_points(run, state, [*first, *more[:20]])
    backend.log_points(run, state, [*more[20:], *second])
    backend.end(run, state, "FINISHED", 5000)
    backend.close()
    found = server.run("two-writers").points(STEP_KEY)
    assert Counter(found) == Counter((p.key, p.step, p.value) for p in [*first, *second, *more])
    assert server.run("two-writers").replaced == 0


def test_what_is_sent_again_is_stored_once(server: WandbServer, tmp_path: Path) -> None:
    key = written(tmp_path, lambda run: run.log_metrics({"loss": 1, "acc": 2}, step=1))
    for _ in range(3):
        send(tmp_path)
        directory = run_directory(tmp_path / "spool", key)
        directory.sent("wandb").unlink()
        directory.complete.unlink()
    assert len(server.run(key).rows()) == 1
    (directory.of_back_end("wandb") / "journal.jsonl").unlink()  # as of a spool that was restored without it
    send(tmp_path)
    assert len(server.run(key).rows()) == 1


def test_a_run_goes_on_after_its_end_and_a_status_is_an_exit_code(server: WandbServer, tmp_path: Path) -> None:
    key = written(tmp_path, lambda run: run.log_metric("loss", 1, step=1), run_key="again/and again")
    send(tmp_path)
    config = {"tracking_dir": str(tmp_path), "mode": "offline", "auto_log": {"enabled": False}}
    run = ExperimentTracker(config).start_run("bought", run_key=key)
    run.log_metric("loss", 2, step=2)
    run.end("FAILED")
    send(tmp_path)
    [found] = server.runs.values()
    assert found.id.startswith("again-and-again-")
    assert found.points(STEP_KEY) == [("loss", 1, 1), ("loss", 2, 2)]
    assert (found.created, found.exit_code) == (1, 1)


def test_a_live_run_is_seen_before_it_ends(server: WandbServer, tmp_path: Path) -> None:
    config = {
        "tracking_dir": str(tmp_path),
        "auto_log": {"enabled": False},
        "wandb": {"enabled": True, "project": "p", "entity": "team"},
        "delivery": {"interval": 0.2},
    }
    with ExperimentTracker(config).start_run("bought") as run:
        for step in range(3):
            run.log_metric("loss", step, step=step)
            end = time.monotonic() + 60
            while not server.runs or len(server.run(run.run_key).lines.get("wandb-history.jsonl", {})) <= step:
                assert time.monotonic() < end, "it is not seen"
                time.sleep(0.05)
        assert server.run(run.run_key).exit_code is None
    assert run.wait_synced(60)
    assert server.run(run.run_key).exit_code == 0
    assert server.requests.count("RunResumeStatus") == 1  # one client for the whole run


def test_many_runs_at_once_have_few_clients_and_lose_nothing(server: WandbServer, tmp_path: Path) -> None:
    backend = WandbBackend(Wandb(True, "p", "team"))
    made = []
    for number in range(5):
        run = Opened(FORMAT, f"run-{number}", "bought", None, 1, True, "host", 1)
        state = RunState(directory=tmp_path / str(number))
        backend.start(run, None, state)
        backend.log_points(run, state, [Point("x", float(number), 1, 1)])
        made.append((run, state))
    assert len(backend._sessions) == 4
    for run, state in made:
        backend.end(run, state, "FINISHED", 2)
        assert server.run(run.run_key).points(STEP_KEY) == [("x", 1, float(run.run_key[-1]))]
    assert not backend._sessions
    backend.close()


def test_ranks_of_other_machines_have_runs_of_their_own(server: WandbServer, tmp_path: Path) -> None:
    backend = WandbBackend(Wandb(True, "p", "team"))
    for rank in (0, 1):
        run = Opened(FORMAT, "job", "bought", None, 1, rank == 0, "host", 1, rank=rank, world_size=2)
        state = RunState(directory=tmp_path / str(rank))
        backend.start(run, None, state)
        backend.log_points(run, state, [Point("x", float(rank), 1, 1)])
        backend.end(run, state, "FINISHED", 2)
    assert server.run("job").points(STEP_KEY) == [("x", 1, 0.0)]
    assert server.run("job-rank1").points(STEP_KEY) == [("x", 1, 1.0)]


def test_a_trainings_own_use_of_the_client_is_left_alone(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RUN_ID": "theirs", "NAME": "theirs", "RESUME": "must", "SERVICE": "3-x", "DIR": "/no"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    key = written(tmp_path, lambda run: run.log_metric("loss", 1, step=1))
    send(tmp_path)
    assert list(server.runs) == [("p", key)]
    assert server.run(key).display_name == "a run"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[WandbBackend, Opened, RunState]]:
    backend, state = WandbBackend(Wandb(True, "p", "team")), RunState(directory=tmp_path / "own")
    run = Opened(FORMAT, "one", "bought", None, 1, True, "host", 1)
    backend.start(run, None, state)
    yield backend, run, state
    backend.close()


_One = tuple[WandbBackend, Opened, RunState]


def test_a_server_that_is_away_is_waited_for(server: WandbServer, one: _One) -> None:
    backend, run, state = one
    server.refuses = lambda request: 404
    with pytest.raises(Unavailable) as caught:
        backend.log_points(run, state, [Point("x", 1.0, 1, 1)])
    assert _KEY not in str(caught.value)
    server.refuses = lambda request: None
    backend.log_points(run, state, [Point("x", 1.0, 1, 1)])
    backend.end(run, state, "FINISHED", 2)
    assert server.run("one").points(STEP_KEY) == [("x", 1, 1)]


def test_a_client_that_dies_is_replaced(server: WandbServer, one: _One) -> None:
    backend, run, state = one
    backend.log_points(run, state, [Point("x", 1.0, 1, 1)])
    [session] = backend._sessions.values()
    os.killpg(session._client._process.pid, signal.SIGKILL)
    session._client._process.wait()
    with pytest.raises(Unavailable, match="W&B's client"):
        backend.log_points(run, state, [Point("x", 2.0, 2, 2)])
    backend.log_points(run, state, [Point("x", 2.0, 2, 2)])
    backend.end(run, state, "FINISHED", 2)
    assert server.run("one").points(STEP_KEY) == [("x", 1, 1), ("x", 2, 2)]


def test_a_key_that_is_refused_is_said(server: WandbServer, one: _One) -> None:
    backend, run, state = one
    server.refuses = lambda request: 401
    with pytest.raises(Unauthorized) as caught:
        backend.log_points(run, state, [Point("x", 1.0, 1, 1)])
    assert _KEY not in str(caught.value)


def test_a_check_says_who_is_known_there(server: WandbServer) -> None:
    backend = WandbBackend(Wandb(True))
    assert backend.check() == f"{server.url} answers, as to u"
    server.refuses = lambda request: 401
    with pytest.raises(Unauthorized) as caught:
        backend.check()
    assert _KEY not in str(caught.value)


def test_a_missing_key_is_said(server: WandbServer, one: _One, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend, run, state = one
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))  # no .netrc
    with pytest.raises(Unauthorized):
        backend.log_points(run, state, [Point("x", 1.0, 1, 1)])


def test_a_deleted_run_is_not_made_again(server: WandbServer, one: _One) -> None:
    backend, run, state = one
    server.gone.add("one")
    with pytest.raises(RunGone):
        backend.log_points(run, state, [Point("x", 1.0, 1, 1)])


def test_a_journal_that_is_cut_off_is_whole_again_and_one_that_is_lost_needs_all_points(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, 0)
    journal.add_points([Point("x", float(n), None, n) for n in range(3000)])
    taken, whole = journal.taken, path.read_bytes()
    path.write_bytes(whole + b'{"row": {"x"')
    again = Journal(path, taken)
    assert path.read_bytes() == whole
    again.add_points([Point("x", 1.0, None, 5000)])
    [(last, mark)] = list(again.entries(Mark(taken, 3000), 10))
    assert last == [(3000, {"row": {"_timestamp": 5.0, "x": 1.0}})]
    assert mark == Mark(len(path.read_bytes()), 3001)
    path.write_bytes(whole[: taken // 2])
    with pytest.raises(RunMoved):
        Journal(path, taken)


def test_it_is_off_unless_it_is_wanted_and_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert "wandb" not in backends(load({}, {}))
    wanted = load({"wandb": {"enabled": True}}, {})
    assert "wandb" in backends(wanted)
    with caplog.at_level(logging.WARNING):
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert "wandb" not in backends(wanted)
        assert "WANDB_MODE is offline" in caplog.text
        monkeypatch.delenv("WANDB_MODE")
        monkeypatch.setattr("mlflow_monitoring_tracking.backends.wandb.backend.find_spec", lambda name: None)
        assert "wandb" not in backends(wanted)
    assert "pip install 'mlflow-monitoring-tracking[wandb]'" in caplog.text


def test_progress_of_a_run_survives_without_the_directory_that_it_names(tmp_path: Path) -> None:
    """A spool may move: where a back end keeps its files is not saved."""
    key = written(tmp_path / "old", lambda run: run.log_metric("x", 1))
    directory = run_directory(tmp_path / "old" / "spool", key)
    assert progress_of(directory, "wandb").run.directory == directory.path / "sent" / "wandb"
