"""What is left of a name where only letters, digits and underscores are allowed."""

from __future__ import annotations

import re

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")


def sanitised(name: str) -> str:
    """The name with every character that Prometheus refuses in names of metrics replaced by ``_``.

    ``:`` is replaced too: it is legal, but belongs to recording rules.
    """
    return _ILLEGAL.sub("_", name)
