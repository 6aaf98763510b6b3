"""Shell-style patterns (``fnmatch``, case-sensitive), as every block of the configuration has them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

#: A class in brackets, or one character.
_PARTS = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)


class Patterns:
    """Several patterns as one question: does any of them match the whole name?"""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._match = re.compile("|".join(map(translate, patterns)) or r"(?!)").match

    def __contains__(self, name: str) -> bool:
        return self._match(name) is not None


def capturing(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression with a group for each run of ``*``; between brackets a star is itself."""
    text, stars = "", 0
    for part in _PARTS.findall(pattern):
        if part != "*":
            text, stars = text + _expression(part), 0
        elif not stars:
            text, stars = text + "(.*)", 1
    return re.compile(text, re.DOTALL)


def to_re2(patterns: Iterable[str]) -> str:
    """What Prometheus matches whole names with, in the syntax of RE2, for any of these patterns."""
    # RE2 has no lookahead, by which an empty class matches nothing.
    return "|".join(
        "".join(_expression(part) for part in _PARTS.findall(pattern)).replace("(?!)", r"[^\s\S]")
        for pattern in patterns
    )


def _expression(part: str) -> str:
    """The regular expression of one part, without what fnmatch puts around it.

    Of single parts, because between two stars it writes atomic groups, which RE2 has not.
    """
    return translate(part).removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")
