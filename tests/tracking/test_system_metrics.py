"""System metrics: MLflow's names and values, one sampler for a machine and a tree of processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from mlflow_monitoring_tracking import ExperimentTracker, Run
from mlflow_monitoring_tracking.capture.system_metrics import SystemReader
from mlflow_monitoring_tracking.sampling import node
from mlflow_monitoring_tracking.spool.records import Opened, Points
from tests.tracking.conftest import Programs, environment
from tests.tracking.spools import keys, openings, points, records, statuses, steps

_CPU = "system/cpu_utilization_percentage"


def tracker(directory: Path, interval: float = 0.1, **more: Any) -> ExperimentTracker:
    auto_log = {"system_metrics": True, "system_metrics_interval": interval, "log_git_info": False, **more}
    return ExperimentTracker({"tracking_dir": str(directory), "mode": "offline", "auto_log": auto_log})


def until(condition: Callable[[], object], within: float = 30.0) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def samples(directory: Path, run: Run | str) -> int:
    return len(steps(directory / "spool", _CPU, run if isinstance(run, str) else run.run_key))


def test_names_are_those_of_mlflow() -> None:
    """MLflow's own monitors say which there are."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    theirs: set[str] = set()
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        theirs |= {f"system/{name}" for name in monitor.aggregate_metrics()}
    assert set(SystemReader().read()) == theirs
    assert set(SystemReader("node-1").read()) == {name.replace("system/", "system/node-1/") for name in theirs}


def test_values_are_those_of_the_machine() -> None:
    reader = SystemReader()
    values = reader.read()
    assert values["system/system_memory_usage_megabytes"] * 1e6 == pytest.approx(psutil.virtual_memory().used, rel=0.2)
    assert values["system/disk_usage_percentage"] == pytest.approx(psutil.disk_usage("/").percent, abs=2)
    assert 0 <= values["system/network_receive_megabytes"] < 1000
    assert 0 <= values[_CPU] <= 100


def test_a_run_has_a_sample_for_each_interval_and_none_after_its_end(tmp_path: Path) -> None:
    with tracker(tmp_path).start_run("e") as run:
        until(lambda: samples(tmp_path, run) >= 4)
    found = samples(tmp_path, run)
    assert steps(tmp_path / "spool", _CPU, run.run_key) == list(range(found))
    times = sorted({p.time_ms for p in points(tmp_path / "spool", run.run_key)})
    assert len(times) == found
    time.sleep(0.3)
    assert samples(tmp_path, run) == found


def test_of_nested_runs_the_outer_one_is_sampled(tmp_path: Path) -> None:
    ours = tracker(tmp_path)
    with ours.start_run("e", run_key="outer") as outer:
        for number in range(5):
            with ours.start_run("e", run_key=f"inner-{number}", nested=True):
                before = samples(tmp_path, outer)
                until(lambda: samples(tmp_path, outer) > before)  # noqa: B023
    assert [samples(tmp_path, f"inner-{number}") for number in range(5)] == [0] * 5


def test_when_the_sampled_run_ends_the_next_open_one_is_sampled(tmp_path: Path) -> None:
    ours = tracker(tmp_path)
    first, second = ours.start_run("e"), ours.start_run("e")
    until(lambda: samples(tmp_path, first))
    assert samples(tmp_path, second) == 0
    first.end()
    until(lambda: samples(tmp_path, second))
    second.end()
    with ours.start_run("e") as third:  # the thread ended, and there is another one
        until(lambda: samples(tmp_path, third))


_RANK = """
    import time
    from mlflow_monitoring_tracking import ExperimentTracker
    sampled = {"system_metrics": True, "system_metrics_interval": 0.2, "log_git_info": False}
    run = ExperimentTracker({"auto_log": sampled}).start_run("e", run_key="shared")
    time.sleep(600)
"""


def test_of_ranks_on_one_machine_one_samples_and_another_goes_on_for_it(offline: Programs) -> None:
    ranks = [
        offline.start(_RANK, env={"RANK": str(rank), "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}) for rank in range(3)
    ]
    try:
        until(lambda: offline.spool.exists() and samples(offline.here / "tracking", "shared") >= 4)
        assert len(_samplers(offline.spool, "shared")) == 1
        [pid] = _samplers(offline.spool, "shared")
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(_samplers(offline.spool, "shared")) == 2)
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert _samplers(offline.spool, "shared")[0] == pid


def _samplers(spool: Path, key: str) -> list[int]:
    """Processes that wrote samples, in the order in which they began to."""
    found: dict[int, None] = {}
    pid = 0
    writers = []
    for record in records(spool, key):
        if isinstance(record, Opened):
            pid = record.pid
        elif isinstance(record, Points):
            writers += [(p.time_ms, pid) for p in record.points if p.key.endswith("cpu_utilization_percentage")]
    for _, each in sorted(writers):
        found[each] = None
    return list(found)


def test_what_a_sampled_training_starts_is_not_sampled_until_it_is_on_its_own(offline: Programs) -> None:
    outer = """
        import subprocess, sys, time
        from mlflow_monitoring_tracking import ExperimentTracker
        sampled = {"system_metrics": True, "system_metrics_interval": 0.1, "log_git_info": False}
        run = ExperimentTracker({"auto_log": sampled}).start_run("e", run_key="outer")
        time.sleep(0.5)
        inner = subprocess.Popen([sys.executable, sys.argv[1]])
        print(inner.pid, flush=True)
        time.sleep(2)
        run.end()
        inner.wait()
    """
    inner = offline.here / "inner.py"
    inner.write_text(textwrap.dedent(_RANK).replace("shared", "inner"))
    process = offline.start(outer, str(inner))
    pid = 0
    try:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        directory = offline.here / "tracking"
        until(lambda: statuses(offline.spool, "outer"))
        until(lambda: "inner" in keys(offline.spool) and samples(directory, "inner"))
        ended = max(p.time_ms for p in points(offline.spool, "outer"))
        assert min(p.time_ms for p in points(offline.spool, "inner")) >= ended
        assert samples(directory, "outer") >= 5
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.communicate()


def test_a_forked_child_does_not_sample(offline: Programs) -> None:
    offline.run(
        """
        import os, time
        from mlflow_monitoring_tracking import ExperimentTracker
        sampled = {"system_metrics": True, "system_metrics_interval": 0.1, "log_git_info": False}
        run = ExperimentTracker({"auto_log": sampled}).start_run("e", run_key="k")
        time.sleep(0.5)
        if os.fork() == 0:
            run.log_metric("child", 1.0)
            time.sleep(1)
            os._exit(0)
        os.wait()
        run.end()
        """
    )
    assert len(openings(offline.spool, "k")) == 2
    assert len(_samplers(offline.spool, "k")) == 1


def test_nothing_is_imported_by_a_run_that_wants_no_samples(offline: Programs) -> None:
    offline.run(
        """
        import sys, threading
        from mlflow_monitoring_tracking import start_experiment
        with start_experiment("e") as run:
            run.log_metric("a", 1)
            assert "psutil" not in sys.modules and "mlflow_monitoring_tracking.sampling" not in sys.modules
            assert not [t for t in threading.enumerate() if t.name == "tracking-system-metrics"]
        """
    )


def test_without_psutil_the_log_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr("mlflow_monitoring_tracking.sampling.sampler._thread", None)
    with caplog.at_level(logging.WARNING), tracker(tmp_path).start_run("e") as run:
        until(lambda: "pip install 'mlflow-monitoring-tracking[system]'" in caplog.text)
        run.log_metric("loss", 1.0)
    monkeypatch.setattr("mlflow_monitoring_tracking.sampling.sampler._thread", None)
    assert [p.key for p in points(tmp_path / "spool", run.run_key)] == ["loss"]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's library as it is with two GPUs, one of which does not tell its power. There is no real one here."""

    class NVMLError(Exception):
        pass

    def power(handle: int) -> int:
        if handle == 1:
            raise NVMLError("Not Supported")
        return 150_000

    module = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda number: number,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=2_000_000_000, total=8_000_000_000),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=40 + handle),
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 300_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)


@pytest.mark.usefixtures("gpus")
def test_gpus_are_told_as_far_as_they_tell() -> None:
    found = {name: value for name, value in SystemReader().read().items() if "gpu" in name}
    memory = {"memory_usage_percentage": 25.0, "memory_usage_megabytes": 2000.0}
    assert found == {
        **{f"system/gpu_{n}_{name}": value for n in (0, 1) for name, value in memory.items()},
        "system/gpu_0_utilization_percentage": 40,
        "system/gpu_1_utilization_percentage": 41,
        "system/gpu_0_power_usage_watts": 150.0,
        "system/gpu_0_power_usage_percentage": 50.0,
    }


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, False),
        ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}, False),
        ({"WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, True),
        ({"SLURM_NNODES": "2"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, True),
    ],
)
def test_a_machine_is_named_where_there_are_others(environ: dict[str, str], named: bool) -> None:
    assert node(environ) == (os.uname().nodename if named else None)
    assert node({**environ, "MLFLOW_SYSTEM_METRICS_NODE_ID": "n1"}) == "n1"


def test_a_training_that_is_sampled_ends_at_once(tmp_path: Path) -> None:
    program = (
        "from mlflow_monitoring_tracking import ExperimentTracker\n"
        "t = ExperimentTracker({'mode': 'offline', 'auto_log': {'system_metrics': True, 'log_git_info': False}})\n"
        "t.start_run('e').log_metric('a', 1)\n"
    )
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment(), check=True, timeout=60)
    assert time.monotonic() - began < 9  # an interval is ten seconds
