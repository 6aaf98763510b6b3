"""The wall clock in the unit that MLflow, remote write and the state database use."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def to_ms(seconds: float) -> int:
    """Unix time in seconds, as a clock that tests set gives it, in milliseconds."""
    return round(seconds * 1000)


def moment(milliseconds: int | None) -> datetime | None:
    """A time of MLflow's, in UTC; None for one that the calendar cannot hold."""
    if milliseconds is None:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
