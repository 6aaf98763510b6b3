"""``show`` and ``status``: what is in a spool, and what became of it."""

from __future__ import annotations

import pytest

from tests.tracking.commands import LOGS, LOGS_FOR_EVER, command, segments, tracking_spool
from tests.tracking.conftest import Programs
from tests.tracking.spools import only_key, steps

_AWAY = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}


def test_each_run_is_a_row_and_its_name_reaches_no_terminal_raw(offline: Programs) -> None:
    offline.run(LOGS)
    head, row = tracking_spool(offline.here, "show", "tracking").out.splitlines()
    assert head.split() == ["key", "experiment", "name", "status", "points", "set", "aside", "lost"]
    assert row.split() == [only_key(offline.spool), "commands", "r\\x1b[31m", "FINISHED", "20", "0", "0"]


def test_the_spool_itself_may_be_named_as_well(offline: Programs) -> None:
    offline.run(LOGS)
    assert (
        tracking_spool(offline.here, "show", "tracking").out
        == tracking_spool(offline.here, "show", "tracking/spool").out
    )


def test_one_run_shows_all_that_it_logged(offline: Programs) -> None:
    (offline.here / "note.txt").write_text("hello")
    offline.run(
        """
        from tracking import start_experiment
        with start_experiment("commands", "one") as exp:
            for step in (0, 2, 1): exp.log_metric("loss", step, step=step)
            exp.log_metric("bad", float("nan"))
            exp.log_params({"lr": 0.1, "note": "two\\nlines"})
            exp.set_tags({"team": "a"})
            exp.log_artifact("note.txt")
        """
    )
    key = only_key(offline.spool)
    one = tracking_spool(offline.here, "show", "--run", key, "tracking", "--output", "json").json
    assert (one["key"], one["name"], one["status"], one["points"]) == (key, "one", "FINISHED", 4)
    assert one["params"] == {"lr": "0.1", "note": "two\nlines"}
    assert one["tags"]["team"] == "a"
    assert {name: (m["value"], m["step"]) for name, m in one["metrics"].items()} == {
        "loss": (2.0, 2),
        "bad": ("NaN", None),
    }
    assert [(artifact["path"], artifact["size"]) for artifact in one["artifacts"]] == [("note.txt", 5)]
    table = tracking_spool(offline.here, "show", "--run", key, "tracking").out
    assert "two\\nlines" in table
    assert "note.txt" in table


def test_a_run_is_running_while_its_process_lives_and_whole_after_kill_9(offline: Programs) -> None:
    writer = offline.start(LOGS_FOR_EVER)
    try:
        assert writer.stdout is not None
        assert "20\n" in iter(writer.stdout.readline, "")
        [shown] = tracking_spool(offline.here, "show", "tracking", "--output", "json").json
        assert shown["status"] == "RUNNING"
        assert shown["points"] > 20
    finally:
        writer.kill()
    acknowledged = max(20, *map(int, writer.communicate()[0].split()))
    [shown] = tracking_spool(offline.here, "show", "tracking", "--output", "json").json
    assert shown["status"] == "UNKNOWN"
    assert shown["points"] >= acknowledged + 1
    assert steps(offline.spool, "loss")[: acknowledged + 1] == list(range(acknowledged + 1))


def test_a_run_that_cannot_be_read_hides_no_other(offline: Programs) -> None:
    offline.run(LOGS)
    offline.run(LOGS)
    bad = segments(offline.spool)[0]
    bad.write_bytes(b"something else" * 10)
    said = tracking_spool(offline.here, "show", "tracking", code=1)
    assert f"{bad.name} is no segment of a spool" in said.err
    assert sorted(word for word in said.out.split() if word in {"FINISHED", "UNREADABLE"}) == ["FINISHED", "UNREADABLE"]
    status = tracking_spool(offline.here, "status", "tracking", "--output", "json", code=1).json
    assert (status["runs"], status["points"], len(status["unreadable"])) == (2, 20, 1)


def test_what_was_never_sent_is_left_and_status_says_so(offline: Programs) -> None:
    offline.run(LOGS)
    assert "nothing was sent to any back end yet" in tracking_spool(offline.here, "status", "tracking", code=1).out


def test_status_says_who_has_what_and_how_old_the_rest_is(offline: Programs) -> None:
    offline.run(LOGS)
    tracking_spool(offline.here, "sync", "tracking", env=_AWAY, code=1)
    offline.run(LOGS)  # of this one no back end has heard
    status = tracking_spool(offline.here, "status", "tracking", "--output", "json", code=1).json
    assert 0 < status["back_ends"]["mlflow"].pop("oldest_waiting_seconds") < 600
    status["back_ends"]["local"].pop("oldest_waiting_seconds")
    assert status["back_ends"] == {
        "local": {"logged": 40, "delivered": 20, "waiting": 20, "set_aside": 0, "lost": 0},
        "mlflow": {"logged": 40, "delivered": 0, "waiting": 40, "set_aside": 0, "lost": 0},
    }
    assert status["runs_left"] == {"local": 1, "mlflow": 2}
    assert status["unaccounted"] == {"local": 0, "mlflow": 0}
    table = tracking_spool(offline.here, "status", "tracking", code=1).out
    assert table.splitlines()[3].split()[:4] == ["mlflow", "40", "0", "40"]


def test_status_is_content_with_an_empty_spool(offline: Programs) -> None:
    offline.spool.mkdir(parents=True)
    assert tracking_spool(offline.here, "status", "tracking").out.startswith("0 runs, 0 points logged")
    assert tracking_spool(offline.here, "show", "tracking", "--output", "json").json == []


def test_what_the_disk_had_no_room_for_is_lost_and_counted(offline: Programs) -> None:
    offline.run(
        """
        from tracking import ExperimentTracker
        exp = ExperimentTracker({"tracking_dir": "tracking", "mode": "offline"}).start_run("commands", "crowded")
        exp._recorder.crowd(is_crowded=True)  # as a spool over spool.max_bytes does
        for step in range(100): exp.log_metric("loss", step, step=step)
        exp.end()
        """
    )
    [shown] = tracking_spool(offline.here, "show", "tracking", "--output", "json").json
    assert (shown["points"], shown["lost"]) == (100, 98)


def test_a_reader_that_goes_away_is_no_reason_for_a_traceback(offline: Programs) -> None:
    offline.run(LOGS)
    process = command(offline.here, "show", "tracking")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 1


@pytest.mark.parametrize("name", ["show", "status", "verify"])
def test_a_directory_that_is_none_is_told_in_a_line(offline: Programs, name: str) -> None:
    said = tracking_spool(offline.here, name, "no\x1bwhere", code=1)
    assert said.err == "error: no\\x1bwhere is no directory\n"


def test_a_run_that_is_not_there_is_told_in_a_line(offline: Programs) -> None:
    offline.run(LOGS)
    said = tracking_spool(offline.here, "show", "tracking", "--run", "none", code=1)
    assert said.err == "error: there is no run 'none' in tracking/spool\n"
