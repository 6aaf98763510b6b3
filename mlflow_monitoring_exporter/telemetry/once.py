"""Saying a thing once, however often it is met."""

from __future__ import annotations

import threading

#: Things that are remembered, and so the lines that they can cost.
_MOST = 10_000


class Once:
    """Remembers what was said, up to ``most`` things. For several threads."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._said: set[int] = set()
        self._lock = threading.Lock()

    def first(self, *what: str) -> bool:
        """Whether this is new, and there is still room to say new things."""
        with self._lock:
            if len(self._said) >= self._most or hash(what) in self._said:
                return False
            self._said.add(hash(what))
            return True

    @property
    def full(self) -> bool:
        """Whether nothing more will be said."""
        return len(self._said) >= self._most
