"""How room is divided when not everything fits: max-min fair, so that whoever wants little gets it."""

from __future__ import annotations

from collections.abc import Sequence


def fair_shares(wants: Sequence[int], room: int) -> list[int]:
    """What each gets of ``room``: none more than it wants, and none less than another that wants more.

    So each gets what it wants, or at least ``room // len(wants)``, and what one does not need the others have.
    What cannot be divided goes to the first. With more room no share shrinks.
    """
    left = max(0, room)
    waiting = sorted(wants)
    for at, want in enumerate(waiting):
        sharers = len(waiting) - at
        if want * sharers > left:
            level, over = divmod(left, sharers)
            break
        left -= want
    else:
        return list(wants)
    shares = []
    for want in wants:
        more = 1 if over and want > level else 0
        over -= more
        shares.append(min(want, level) + more)
    return shares
