"""Which times can be believed?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.plausible_times import EARLIEST_MS, plausible, recalled, remembered

NOW = 1_790_000_000_000
any_time = st.integers(-(2**63), 2**63 - 1)
#: Moments at which a clock of ours is read.
moments = st.integers(EARLIEST_MS, 4 * NOW)


@pytest.mark.parametrize(
    ("ms", "believed"),
    [
        (None, None),
        (0, None),  # what MLflow stores for none
        (-1, None),
        (-(2**63), None),
        (NOW // 1000, None),  # seconds
        (NOW, NOW),
        (NOW - 20 * 365 * 86_400_000, NOW - 20 * 365 * 86_400_000),  # imported from an older tracker
        (NOW + 1, NOW),
        (NOW * 1000, NOW),  # microseconds
        (NOW * 1_000_000, NOW),  # nanoseconds
        (2**63 - 1, NOW),
    ],
)
def test_a_time_is_unknown_before_2000_and_the_moment_of_reading_where_it_is_ahead(
    ms: int | None, believed: int | None
) -> None:
    assert plausible(ms, NOW) == believed
    assert recalled(remembered(ms, NOW, None), NOW) == believed


@given(any_time, st.lists(moments, min_size=1).map(sorted))
def test_what_was_ahead_when_it_was_read_first_stays_at_that_moment(ms: int, polls: list[int]) -> None:
    stored: int | None = None
    for read_ms in polls:
        stored = remembered(ms, read_ms, stored)
        assert recalled(stored, read_ms) == plausible(ms, polls[0])


@given(any_time, moments, st.integers(0, 10**9))
def test_another_time_that_was_known_then_replaces_the_moment(ms: int, first: int, later: int) -> None:
    stored = remembered(first + 1, first, None)
    earlier = min(ms, first)
    assert recalled(remembered(earlier, first + later, stored), first + later) == plausible(earlier, first + later)


def test_a_clock_that_is_not_set_changes_no_time() -> None:
    assert plausible(NOW, 1000) == NOW


def test_what_an_earlier_release_stored_is_judged_now() -> None:
    assert [recalled(stored, NOW) for stored in (0, -5, NOW * 1000, NOW - 1, None)] == [None, None, NOW, NOW - 1, None]
