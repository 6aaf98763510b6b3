"""The wall clock in the unit that MLflow, remote write and the state database use."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def to_ms(seconds: float) -> int:
    """Unix time in seconds, as a clock that tests set gives it, in milliseconds."""
    return round(seconds * 1000)
