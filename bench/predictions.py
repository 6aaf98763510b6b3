"""What does one prediction cost the process that serves it? Processor time of a call, beside prometheus_client's.

Each contender is a process of its own, and they take turns; what is compared are medians. prometheus_client counts what
ours counts without features: an outcome, a class, a latency and a confidence.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CALLS, _ROUNDS = 200_000, 5
_MULTIPROCESS = "prometheus_client, several processes"


def main(_directory: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Print microseconds of processor time for one call; ``quick`` is a tenth of the calls."""
    calls = _CALLS // 10 if quick else _CALLS
    rounds = [{name: _alone(kind, calls) for name, kind in _CONTENDERS.items()} for _ in range(_ROUNDS)]
    found = {name: statistics.median(one[name] for one in rounds) for name in _CONTENDERS}
    print("\none prediction, processor time")
    print(f"  {'':<42}{'us':>10}{'ratio':>10}")
    for name, value in found.items():
        print(f"  {name:<42}{value:>10.2f}{value / found[_MULTIPROCESS]:>10.2f}", flush=True)
    return [{"title": "one prediction", "yardstick": _MULTIPROCESS, "results": found}]


def _alone(kind: str, calls: int) -> float:
    with tempfile.TemporaryDirectory() as here:
        env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TRACKING_DIR": here, "TRACKING_MODE": "offline"}
        if kind == "several":
            env["PROMETHEUS_MULTIPROC_DIR"] = here
        command = [sys.executable, "-m", "bench.predictions", kind, str(calls)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout))


def _measure(call: Callable[[tuple[Any, ...]], object], calls: int, features: int = 0) -> None:
    rng = random.Random(1)
    some = [
        (
            rng.random() < 0.5,
            rng.random(),
            rng.expovariate(0.05),
            {f"feature_{place}": rng.gauss(0, 1) for place in range(features)} or None,
        )
        for _ in range(1000)
    ]
    for one in some:
        call(one)
    began = time.process_time()
    for _ in range(calls // len(some)):
        for one in some:
            call(one)
    print((time.process_time() - began) / (calls // len(some) * len(some)) * 1e6)


def _ours(calls: int, features: int = 0, keep: float = 0.01) -> None:
    from tracking_integration import ProductionTracker

    tracker = ProductionTracker()
    tracker.start_production_monitoring("m", "d", keep=keep)
    log = tracker.log_prediction

    def call(one: tuple[Any, ...]) -> None:
        log(deployment_id="d", prediction=one[0], confidence=one[1], latency_ms=one[2], input_data=one[3])

    _measure(call, calls, features)


def _prometheus(calls: int) -> None:
    from prometheus_client import Counter, Histogram

    labels, values = ["deployment", "model", "version"], ("d", "m", "")
    outcome = Counter("predictions", "x", [*labels, "outcome"]).labels(*values, "success")
    classes = Counter("classes", "x", [*labels, "class"])
    of_class = {one: classes.labels(*values, str(one)) for one in (True, False)}
    latency = Histogram("latency", "x", labels, buckets=[10 ** (power / 4) for power in range(-4, 21)])
    confidence = Histogram("confidence", "x", labels, buckets=[step / 20 for step in range(1, 21)])
    of_latency, of_confidence = latency.labels(*values), confidence.labels(*values)

    def call(one: tuple[Any, ...]) -> None:
        outcome.inc()
        of_class[one[0]].inc()
        of_confidence.observe(one[1])
        of_latency.observe(one[2])

    _measure(call, calls)


_CONTENDERS = {
    "this library": "ours",
    "this library, every prediction kept": "kept",
    "this library, 10 features": "features",
    "prometheus_client, one process": "one",
    _MULTIPROCESS: "several",
}
_KINDS: dict[str, Callable[[int], None]] = {
    "ours": _ours,
    "kept": lambda calls: _ours(calls, keep=1.0),
    "features": lambda calls: _ours(calls, features=10),
    "one": _prometheus,
    "several": _prometheus,
}

if __name__ == "__main__":
    _KINDS[sys.argv[1]](int(sys.argv[2]))
