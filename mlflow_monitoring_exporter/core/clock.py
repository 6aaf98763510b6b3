"""The wall clock in the unit that MLflow, remote write and the state database use."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000
