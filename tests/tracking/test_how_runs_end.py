"""Every way in which a program may end, and the status that its run has afterwards."""

from __future__ import annotations

import signal

import pytest

from tests.tracking.conftest import Programs
from tests.tracking.spools import statuses, steps, tags

_BEGIN = """
import os, signal, sys, time, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts tests in the background ignores it
from tracking import ExperimentTracker, start_experiment
"""
_WITH = """
with start_experiment("ends", "r") as exp:
    exp.log_metric("loss", 1.0, step=0)
    {what}
"""
_PLAIN = """
exp = ExperimentTracker().start_run("ends", "r")
exp.log_metric("loss", 1.0, step=0)
{what}
"""
_ME = "os.kill(os.getpid(), signal.{})\n{}time.sleep(60)"


def _sent(name: str, indent: str) -> str:
    return _ME.format(name, indent)


@pytest.mark.parametrize(
    ("begin", "what", "code", "status"),
    [
        (_WITH, "pass", 0, "FINISHED"),
        (_PLAIN, "pass", 0, "FINISHED"),
        (_PLAIN, "exp.end()", 0, "FINISHED"),
        (_PLAIN, "exp.end('FAILED')", 0, "FAILED"),
        (_WITH, "raise ValueError('the data is wrong')", 1, "FAILED"),
        (_PLAIN, "raise ValueError('the data is wrong')", 1, "FAILED"),
        (_WITH, "sys.exit(0)", 0, "FINISHED"),
        (_WITH, "sys.exit()", 0, "FINISHED"),
        (_WITH, "sys.exit(3)", 3, "FAILED"),
        (_PLAIN, "sys.exit(0)", 0, "FINISHED"),
        (_WITH, _sent("SIGTERM", "    "), -signal.SIGTERM, "KILLED"),
        (_PLAIN, _sent("SIGTERM", ""), -signal.SIGTERM, "KILLED"),
        (_WITH, _sent("SIGHUP", "    "), -signal.SIGHUP, "KILLED"),
        (_WITH, _sent("SIGINT", "    "), -signal.SIGINT, "KILLED"),
        (_PLAIN, _sent("SIGINT", ""), -signal.SIGINT, "KILLED"),
    ],
)
def test_a_run_ends_as_its_program_does(offline: Programs, begin: str, what: str, code: int, status: str) -> None:
    process = offline.start(_BEGIN + begin.format(what=what))
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert statuses(offline.spool) == [status]
    assert steps(offline.spool, "loss") == [0]
    if "ValueError" in what:
        assert tags(offline.spool)["tracking.failure"] == "ValueError: the data is wrong"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_the_programs_own_handler_still_runs(offline: Programs, number: str) -> None:
    out = offline.run(
        f"""
        import os, signal, sys, time
        def mine(number, frame):
            print("mine", flush=True)
            sys.exit(0)
        signal.signal(signal.{number}, mine)
        from tracking import start_experiment
        with start_experiment("ends", "r") as exp:
            exp.log_metric("loss", 1.0, step=0)
            os.kill(os.getpid(), signal.{number})
            time.sleep(60)
        """
    )
    assert out == "mine\n"
    assert statuses(offline.spool) == ["KILLED" if number == "SIGTERM" else "FINISHED"]


def test_a_signal_that_the_program_survives_ends_the_run_as_killed_when_it_ends(offline: Programs) -> None:
    offline.run(
        """
        import os, signal
        stop = []
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
        from tracking import start_experiment
        with start_experiment("ends", "r") as exp:
            os.kill(os.getpid(), signal.SIGTERM)
            while not stop: pass
            exp.log_metric("checkpoint", 1.0, step=9)
        """
    )
    assert statuses(offline.spool) == ["KILLED"]
    assert steps(offline.spool, "checkpoint") == [9]


def test_a_signal_that_is_ignored_stays_ignored(offline: Programs) -> None:
    offline.run(
        """
        import os, signal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        from tracking import start_experiment
        with start_experiment("ends", "r") as exp:
            os.kill(os.getpid(), signal.SIGHUP)
            exp.log_metric("loss", 1.0, step=0)
        """
    )
    assert statuses(offline.spool) == ["FINISHED"]


def test_the_run_of_a_process_that_was_killed_has_all_it_logged_and_no_end(offline: Programs) -> None:
    process = offline.start(
        """
        from tracking import start_experiment
        with start_experiment("ends", "r") as exp:
            step = 0
            while True:
                exp.log_metric("loss", 1.0, step=step)
                print(step, flush=True)
                step += 1
        """
    )
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(200)]
    process.kill()
    acknowledged += [int(line) for line in process.stdout.read().split()]
    process.wait(10)
    logged = steps(offline.spool, "loss")
    assert len(acknowledged) > 100
    assert logged == list(range(len(logged)))
    assert len(logged) >= acknowledged[-1]
    assert statuses(offline.spool) == []


def test_a_cell_that_was_interrupted_and_runs_again_makes_two_runs(offline: Programs) -> None:
    offline.run(
        """
        import os, signal
        from tracking import start_experiment
        cell = '''
        with start_experiment("ends", "r") as exp:
            exp.log_metric("loss", 1.0, step=0)
            if interrupted: raise KeyboardInterrupt
        '''
        import textwrap
        for interrupted in (True, False):
            try:
                exec(textwrap.dedent(cell))
            except KeyboardInterrupt:
                pass
        """
    )
    from tests.tracking.spools import keys

    assert sorted(status for key in keys(offline.spool) for status in statuses(offline.spool, key)) == [
        "FINISHED",
        "KILLED",
    ]
