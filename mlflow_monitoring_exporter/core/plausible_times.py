"""Which times can be believed? MLflow takes any number for one, and clients write what they like.

Zero is what it stores for "none", seconds instead of milliseconds are January 1970, microseconds are the year 55000,
and a clock may be ahead. What is sent keeps the time that MLflow has; what we judge by and show as a gauge is

- **unknown** where it is from before :data:`EARLIEST_MS`,
- **the moment when it was read** where it was ahead of our clock then. That moment stays, whatever the clock says
  later, until MLflow says something else.
"""

from __future__ import annotations

#: The beginning of the year 2000: before it nothing was tracked, and everything that is no time in ms is.
EARLIEST_MS = 946_684_800_000


def plausible(ms: int | None, read_ms: int) -> int | None:
    """A time of MLflow that was read at ``read_ms``, as we judge by it; None where it is unknown.

    A clock of ours from before :data:`EARLIEST_MS` is not set, and cannot say what is ahead of it.
    """
    if ms is None or ms < EARLIEST_MS:
        return None
    return ms if ms <= read_ms or read_ms < EARLIEST_MS else read_ms


def remembered(ms: int | None, read_ms: int, before: int | None) -> int | None:
    """The same as it is stored, so that it stays: minus the moment when it was read where it was ahead of that.

    ``before`` is what was stored when it was read last, None for the first time. Whatever lies behind that moment
    counts as the same time which was ahead of it.
    """
    found = plausible(ms, read_ms)
    if found is None or ms is None:
        return None
    if before is not None and before < 0 and ms > -before:
        return before
    return found if found == ms else -found


def recalled(stored: int | None, read_ms: int) -> int | None:
    """What :func:`remembered` stored; an earlier release stored what MLflow said."""
    return plausible(None if stored is None else abs(stored), read_ms)
