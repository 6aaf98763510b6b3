"""Threads, forks, spawned processes and ranks: every point arrives, in one run, and nothing hangs."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from mlflow_monitoring_tracking.spool.records import Params
from tests.tracking.conftest import Programs
from tests.tracking.spools import keys, only_key, openings, params, points, records, statuses, steps


def test_eight_threads_log_into_one_run(offline: Programs) -> None:
    offline.run(
        """
        import threading
        from tracking import start_experiment
        with start_experiment("many", "r") as exp:
            def work(n):
                for step in range(2000): exp.log_metric(f"m{n}", step, step=step)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for t in threads: t.start()
            for t in threads: t.join()
        """
    )
    for n in range(8):
        assert steps(offline.spool, f"m{n}") == list(range(2000))


def test_twenty_forks_under_threads_that_log(offline: Programs) -> None:
    offline.run(
        """
        import os, threading
        from tracking import start_experiment
        with start_experiment("many", "r") as exp:
            stop = threading.Event()
            def work(n):
                step = 0
                while not stop.is_set():
                    exp.log_metric(f"t{n}", 1.0, step=step); step += 1
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for t in threads: t.start()
            children = []
            for n in range(20):
                pid = os.fork()
                if pid == 0:
                    for step in range(50): exp.log_metric(f"child{n}", 1.0, step=step)
                    os._exit(0)
                children.append(pid)
            for pid in children: assert os.waitpid(pid, 0)[1] == 0
            stop.set()
            for t in threads: t.join()
        """
    )
    for n in range(20):
        assert steps(offline.spool, f"child{n}") == list(range(50))
    for n in range(4):
        logged = steps(offline.spool, f"t{n}")
        assert logged == list(range(len(logged)))
    assert statuses(offline.spool) == ["FINISHED"]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_add_to_the_run_that_they_are_given(offline: Programs, method: str) -> None:
    """As the workers of a data loader do; with fork they inherit the run, else they get it by pickle."""
    offline.run(
        f"""
        import multiprocessing
        from tracking import start_experiment
        def work(exp, n):
            for step in range(100): exp.log_metric(f"w{{n}}", 1.0, step=step)
        if __name__ == "__main__":
            with start_experiment("many", "r") as exp:
                context = multiprocessing.get_context("{method}")
                workers = [context.Process(target=work, args=(exp, n)) for n in range(4)]
                for w in workers: w.start()
                for w in workers: w.join(60); assert w.exitcode == 0
                exp.log_metric("own", 1.0, step=0)
        """
    )
    for n in range(4):
        assert steps(offline.spool, f"w{n}") == list(range(100))
    assert statuses(offline.spool) == ["FINISHED"]
    assert [opened.owner for opened in openings(offline.spool)].count(True) == 1


def test_a_server_that_forks_its_workers_after_the_import_gives_each_a_run_of_its_own(offline: Programs) -> None:
    """As gunicorn --preload does."""
    offline.run(
        """
        import os
        from tracking import tracker
        tracker.settings
        for n in range(3):
            if os.fork() == 0:
                with tracker.start_run("served", f"worker {n}") as exp:
                    for step in range(20): exp.log_metric("requests", 1.0, step=step)
                os._exit(0)
        for n in range(3): assert os.wait()[1] == 0
        """
    )
    assert len(keys(offline.spool)) == 3
    for key in keys(offline.spool):
        assert steps(offline.spool, "requests", key) == list(range(20))
        assert statuses(offline.spool, key) == ["FINISHED"]


_RANK = """
    import os
    from tracking import start_experiment
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID"))
    with start_experiment("ranks", "r") as exp:
        exp.log_params({"lr": 0.1, "rank": rank})
        for step in range(100): exp.log_metric("loss", float(rank), step=step)
"""


def _ranks(programs: Programs, of: str, size: str, env: Mapping[str, str]) -> None:
    started: list[subprocess.Popen[str]] = [
        programs.start(_RANK, env={of: str(rank), size: "4", **env}) for rank in range(4)
    ]
    for process in started:
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")


@pytest.mark.parametrize(
    ("of", "size", "env"),
    [
        ("RANK", "WORLD_SIZE", {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}),
        ("RANK", "WORLD_SIZE", {"TORCHELASTIC_RUN_ID": "job-7"}),
        ("RANK", "WORLD_SIZE", {"TRACKING_RUN_KEY": "mine"}),
        ("RANK", "WORLD_SIZE", {}),
        ("SLURM_PROCID", "SLURM_NTASKS", {"SLURM_JOB_ID": "42", "SLURM_STEP_ID": "0"}),
    ],
)
def test_ranks_make_one_run_whose_parameters_and_end_are_those_of_the_first(
    offline: Programs, of: str, size: str, env: Mapping[str, str]
) -> None:
    _ranks(offline, of, size, env)
    assert len(points(offline.spool)) == 400
    assert sorted({point.value for point in points(offline.spool)}) == [0.0, 1.0, 2.0, 3.0]
    assert params(offline.spool) == {"lr": "0.1", "rank": "0"}
    assert sum(isinstance(record, Params) for record in records(offline.spool)) == 1
    assert statuses(offline.spool) == ["FINISHED"]


def test_where_only_the_first_rank_is_wanted_the_others_write_nothing(offline: Programs) -> None:
    (offline.here / "c.json").write_text('{"ranks": "zero"}')
    _ranks(offline, "RANK", "WORLD_SIZE", {"TRACKING_RUN_KEY": "mine", "TRACKING_CONFIG_PATH": "c.json"})
    assert {point.value for point in points(offline.spool)} == {0.0}


def test_ranks_of_one_parent_that_start_again_without_a_job_are_another_run(offline: Programs) -> None:
    for _ in range(2):
        _ranks(offline, "RANK", "WORLD_SIZE", {})
    assert sorted(len(points(offline.spool, key)) for key in keys(offline.spool)) == [400, 400]


def test_a_job_that_starts_again_goes_on_with_its_run(offline: Programs) -> None:
    program = """
        import sys
        from tracking import start_experiment
        with start_experiment("again", "r") as exp:
            for step in range(int(sys.argv[1]), int(sys.argv[1]) + 10): exp.log_metric("loss", 1.0, step=step)
            if sys.argv[1] == "0": raise SystemExit(1)
    """
    offline.run(program, "0", env={"TRACKING_RUN_KEY": "job 7"}, code=1)
    offline.run(program, "10", env={"TRACKING_RUN_KEY": "job 7"})
    assert only_key(offline.spool) == "job 7"
    assert steps(offline.spool, "loss") == list(range(20))
    assert statuses(offline.spool) == ["FAILED", "FINISHED"]
