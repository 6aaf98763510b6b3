"""How room is divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.transform.fair_shares import fair_shares

wants = st.lists(st.integers(0, 50), max_size=8)
room = st.integers(0, 200)


@given(wants, room)
def test_shares_are_max_min_fair(wanted: list[int], there: int) -> None:
    shares = fair_shares(wanted, there)
    assert sum(shares) == min(there, sum(wanted)), "nothing is wasted, and no more is given than there is"
    for share, want in zip(shares, wanted, strict=True):
        assert 0 <= share <= want
        if share < want:
            assert share >= there // len(wanted)
            assert max(shares) <= share + 1, "nobody else has more"


@given(wants, room, st.integers(0, 50))
def test_with_more_room_no_one_gets_less(wanted: list[int], there: int, more: int) -> None:
    pairs = zip(fair_shares(wanted, there), fair_shares(wanted, there + more), strict=True)
    assert all(less <= later for less, later in pairs)


@given(wants, room, st.integers(0, 7), st.integers(0, 10**6))
def test_however_much_one_wants_no_other_gets_less_than_its_share(
    wanted: list[int], there: int, which: int, much: int
) -> None:
    greedy = list(wanted)
    if greedy:
        greedy[which % len(greedy)] += much
    for share, want in zip(fair_shares(greedy, there), greedy, strict=True):
        assert share >= min(want, there // len(greedy))
