"""Text from outside, fit for a terminal or a line of a log."""

from __future__ import annotations


def printable(text: object) -> str:
    """Text whose control characters and directions of writing are escaped, on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
