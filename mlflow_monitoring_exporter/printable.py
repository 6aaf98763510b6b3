"""Text from outside as a terminal may see it.

What names a metric, a run or a host may hold what moves the cursor, clears the screen, changes the order in which
a line is read (CVE-2021-42574), or is no character at all. It is shown as its escape instead, as JSON, Python and
PromQL write it, so that what was JSON before is the same JSON afterwards.
"""

from __future__ import annotations

import re

#: C0, DEL and C1; marks, embeddings, overrides and isolates of direction; separators; halves of characters; what takes
#: no room and joins nothing.
_CONTROLS = (
    r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f\u2028\u2029\ud800-\udfff"
    r"\u200b\u2060-\u2064\ufeff\ufff9-\ufffb"
)
_IN_LINE = re.compile(f"[{_CONTROLS}]")
_IN_TEXT = re.compile(rf"(?!\n)[{_CONTROLS}]")


def in_line(text: str) -> str:
    """``text`` without a raw control character, a newline among them."""
    return _IN_LINE.sub(_escaped, text)


def in_text(text: str) -> str:
    """The same for a text of several lines, which stay."""
    return _IN_TEXT.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
