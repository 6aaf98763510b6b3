"""Runs each contender in a process of its own, in turn, and compares medians."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: ``("module:function", argument...)``. The function answers how much it did, so that nobody wins by doing less.
Work = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timed:
    """What a contestant that must prepare something answers: how much it did then, and in how many seconds."""

    amount: int
    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Result:
    """Medians of one contender: seconds of wall time and of its own CPU, peak memory in MB."""

    amount: int
    wall: float
    cpu: float
    peak: float


def contest(contenders: Mapping[str, Work], *, rounds: int = 3) -> Mapping[str, Result]:
    """Each contender's medians over ``rounds`` rounds of all of them."""
    taken: dict[str, list[Result]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            taken[name].append(_alone(work))
    amounts = {name: {result.amount for result in results} for name, results in taken.items()}
    if len(set().union(*amounts.values())) != 1:
        raise AssertionError(f"they did not do the same work: {amounts}")
    return {name: _median(results) for name, results in taken.items()}


def _median(results: Sequence[Result]) -> Result:
    return Result(
        results[0].amount,
        *(statistics.median(getattr(result, field) for result in results) for field in ("wall", "cpu", "peak")),
    )


def _alone(work: Work) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "bench.contestant", *work], stdout=subprocess.PIPE, text=True, check=True
    )
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def report(title: str, results: Mapping[str, Result], yardstick: str, *, amount: str) -> dict[str, Any]:
    """Print a table with each contender's ratio of wall time to the yardstick's; the same for machines."""
    base = results[yardstick]
    print(f"\n{title}")
    print(f"  {'':<34}{'ratio':>8}{'wall s':>9}{'cpu s':>8}{'peak MB':>9}{amount:>12}")
    for name, result in results.items():
        ratio = result.wall / base.wall
        line = f"{ratio:>8.2f}{result.wall:>9.3f}{result.cpu:>8.3f}{result.peak:>9.0f}{result.amount:>12}"
        print(f"  {name:<34}{line}", flush=True)
    return {
        "title": title,
        "yardstick": yardstick,
        "amount": amount,
        "results": {name: {**asdict(r), "ratio": r.wall / base.wall} for name, r in results.items()},
    }
