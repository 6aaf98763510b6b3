"""Foreign text of bounded length: its start, which says what it is, and its end, where the cause stands."""

from __future__ import annotations

#: Characters, unless somebody needs another number.
LONGEST = 300
_BETWEEN = " ... "


def one_line(text: str) -> str:
    """``text`` without what cannot be printed, on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def excerpt(text: str, longest: int = LONGEST) -> str:
    """``text`` on one line, in at most ``longest`` characters; of a longer one the middle is left out."""
    line = one_line(text)
    if len(line) <= longest:
        return line
    room = longest - len(_BETWEEN)
    end = room // 2
    return f"{line[: room - end]}{_BETWEEN}{line[-end:]}"
