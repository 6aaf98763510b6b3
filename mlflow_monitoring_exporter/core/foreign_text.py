"""Text from outside: as a terminal may see it, on one line, of bounded length.

What names a metric, a run or a host may hold what moves the cursor, clears the screen, changes the order in which
a line is read (CVE-2021-42574), or is no character at all. It is shown as its escape instead, as JSON, Python and
PromQL write it, so that what was JSON before is the same JSON afterwards.
"""

from __future__ import annotations

import re

#: C0, DEL and C1; marks, embeddings, overrides and isolates of direction; separators; halves of characters; what takes
#: no room and joins nothing, tags among it.
_CONTROLS = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\u2028\u2029\ud800-\udfff"
    r"\u180e\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_IN_LINE = re.compile(f"[{_CONTROLS}]")
_IN_TEXT = re.compile(rf"(?!\n)[{_CONTROLS}]")

#: Characters, unless the caller gives another number.
LONGEST = 300
_BETWEEN = " ... "


def in_line(text: str) -> str:
    """``text`` without a raw control character, a newline among them."""
    return _IN_LINE.sub(_escaped, text)


def in_text(text: str) -> str:
    """The same for a text of several lines, which stay."""
    return _IN_TEXT.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    # Beyond the first plane JSON writes two halves.
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def escaped(text: str) -> str:
    """``text`` with everything that is not printable as Python escapes it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """``text`` without what cannot be printed, on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def excerpt(text: str, longest: int = LONGEST) -> str:
    """``text`` on one line, in at most ``longest`` characters; of a longer one the middle is left out.

    Its start says what it is, and its end is where the cause stands.
    """
    line = one_line(text)
    if len(line) <= longest:
        return line
    room = longest - len(_BETWEEN)
    end = room // 2
    return f"{line[: room - end]}{_BETWEEN}{line[-end:]}"
