"""How long does a call hold a training up, while the server answers, is dead, or is a black hole?

Each contender is a process of its own that logs one value after the other, as many as it can in the seconds that it
has. What is compared are percentiles of single calls. A call that has begun is waited for.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.parts.mlflow_server import MlflowServer

#: Calls at most, and seconds.
_CALLS, _SECONDS = 10_000, 20.0
#: Seconds that a process may take to end, which is no part of what is measured.
_END = 60.0
_OURS = "this library"


def main(directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print the percentiles; ``quick`` is a tenth of the calls."""
    calls, seconds = (_CALLS // 10, _SECONDS / 4) if quick else (_CALLS, _SECONDS)
    tables = []
    for state in (_up, _dead, _black_hole):
        with state(directory) as (title, url):
            found = {name: _alone(kind, url, calls, seconds) for name, kind in _contenders().items()}
            tables.append(_print(f"one log_metric, {title}", found))
    return tables


def _contenders() -> dict[str, str]:
    found = {_OURS: "ours", "mlflow, synchronous": "mlflow_sync", "mlflow, asynchronous": "mlflow_async"}
    found |= {f"{name}, offline": name for name in ("wandb", "trackio") if find_spec(name)}
    return found


@contextmanager
def _up(directory: Path) -> Iterator[tuple[str, str]]:
    with MlflowServer(directory / "tracking-calls") as server:
        client = MlflowClient(server.url)
        os.environ["BENCH_RUN"] = client.create_run(client.create_experiment(f"bench {time.time()}")).info.run_id
        yield "the server answers", server.url


@contextmanager
def _dead(_directory: Path) -> Iterator[tuple[str, str]]:
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    yield "the server is dead", f"http://127.0.0.1:{port}"


@contextmanager
def _black_hole(_directory: Path) -> Iterator[tuple[str, str]]:
    """Connections are taken, and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as hole:
        yield "the server is a black hole", f"http://127.0.0.1:{hole.getsockname()[1]}"


def _alone(kind: str, url: str, calls: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.tracking_calls", kind, str(calls), str(seconds)]
    env = {**os.environ, "MLFLOW_TRACKING_URI": url, "PYTHONPATH": str(Path.cwd()), "WANDB_MODE": "offline"}
    with tempfile.TemporaryDirectory() as here:
        process = subprocess.Popen(
            command, cwd=here, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        began = time.monotonic()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return {**json.loads(line), "end": time.monotonic() - began}


def _print(title: str, found: dict[str, dict[str, float]]) -> dict[str, Any]:
    print(f"\n{title}")
    heads = ("p50 us", "p99 us", "max ms", "calls", "errors", "exit s", "p50 ratio")
    print(f"  {'':<24}" + "".join(f"{head:>12}" for head in heads))
    for name, one in found.items():
        figures = (one["p50"], one["p99"], one["max"] / 1000, one["calls"], one["errors"], one["end"])
        line = "".join(f"{figure:>12.1f}" for figure in (*figures, one["p50"] / found[_OURS]["p50"]))
        print(f"  {name:<24}{line}", flush=True)
    return {"title": title, "yardstick": _OURS, "results": found}


def _measure(log: Callable[[int], object], calls: int, seconds: float) -> None:
    """Print percentiles in microseconds."""
    taken, errors = [], 0
    end = time.monotonic() + seconds
    for step in range(calls):
        began = time.perf_counter()
        try:
            log(step)
        except Exception:  # noqa: BLE001 - whatever a client raises into a training
            errors += 1
        taken.append((time.perf_counter() - began) * 1e6)
        if time.monotonic() > end:
            break
    cuts = statistics.quantiles(taken, n=100, method="inclusive") if len(taken) > 1 else taken * 99
    figures = {"p50": cuts[49], "p99": cuts[98], "max": max(taken), "calls": len(taken), "errors": errors}
    print(json.dumps(figures), flush=True)


def _ours(calls: int, seconds: float) -> None:
    from mlflow_monitoring_tracking import ExperimentTracker

    with ExperimentTracker({"auto_log": {"enabled": False}}).start_run("bench") as run:
        _measure(lambda step: run.log_metric("loss", 1 / (step + 1), step=step), calls, seconds)


def _mlflow_client(*, synchronous: bool) -> Callable[[int, float], None]:
    def measure(calls: int, seconds: float) -> None:
        client = MlflowClient()
        run_id = os.environ["BENCH_RUN"]
        _measure(
            lambda step: client.log_metric(run_id, "loss", 1 / (step + 1), step=step, synchronous=synchronous),
            calls,
            seconds,
        )

    return measure


def _wandb(calls: int, seconds: float) -> None:
    import wandb

    with wandb.init(project="bench", settings=wandb.Settings(silent=True)) as run:
        _measure(lambda step: run.log({"loss": 1 / (step + 1)}, step=step), calls, seconds)


def _trackio(calls: int, seconds: float) -> None:
    import trackio

    trackio.init(project="bench")
    _measure(lambda step: trackio.log({"loss": 1 / (step + 1)}, step=step), calls, seconds)
    trackio.finish()


_KINDS: dict[str, Callable[[int, float], None]] = {
    "ours": _ours,
    "mlflow_sync": _mlflow_client(synchronous=True),
    "mlflow_async": _mlflow_client(synchronous=False),
    "wandb": _wandb,
    "trackio": _trackio,
}

if __name__ == "__main__":
    _KINDS[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3]))
