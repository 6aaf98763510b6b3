"""The guard of ``make bench BENCH=--quick`` says what became slower, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench import guard


def measured(base: float, **walls: float) -> dict[str, Any]:
    """A report whose yardstick took ``base`` seconds, and the contenders these."""
    results = {name: {"wall": wall, "ratio": wall / base} for name, wall in {"yardstick": base, **walls}.items()}
    return {"title": "work", "yardstick": "yardstick", "results": results}


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_KEPT", tmp_path / "ratios.json")


def test_what_takes_half_as_long_again_is_slower_whatever_the_machine() -> None:
    guard.keep([measured(1.0, ours=2.0)])
    assert guard.slower([measured(1.0, ours=2.9)]) == []
    assert guard.slower([measured(10.0, ours=29.0)]) == []
    assert guard.slower([measured(10.0, ours=31.0)]) == ["  work: ours: 3.10, was 2.00"]


def test_moments_and_what_was_never_kept_are_not() -> None:
    assert guard.slower([measured(1.0, ours=99.0)]) == []
    guard.keep([measured(0.001, ours=0.002)])
    assert guard.slower([measured(0.001, ours=0.03, another=9.0)]) == []


def test_what_is_not_measured_again_stays() -> None:
    guard.keep([measured(1.0, ours=2.0)])
    guard.keep([{**measured(1.0, ours=5.0), "title": "other work"}])
    assert guard.slower([measured(1.0, ours=4.0)]) == ["  work: ours: 4.00, was 2.00"]
