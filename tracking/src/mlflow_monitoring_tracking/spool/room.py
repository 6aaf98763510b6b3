"""How full the spool is: looked at every few seconds, not at every call."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Seconds for which a look holds.
_HOLDS = 5.0


class Room:
    """Of one spool, which may take ``max_bytes``."""

    def __init__(self, spool: Path, max_bytes: int) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._looked = -_HOLDS
        self._share = 0.0

    def share(self) -> float:
        """The share of ``max_bytes`` that is taken; 1 is full."""
        now = time.monotonic()
        if now - self._looked >= _HOLDS:
            self._looked = now
            self._share = size_of(self._spool) / max(1, self._max_bytes)
        return self._share


def size_of(directory: Path) -> int:
    """Bytes of all files below a directory."""
    total = 0
    for root, _, files in os.walk(directory):
        for name in files:
            try:
                total += (Path(root) / name).stat().st_size
            except OSError:
                continue  # gone meanwhile
    return total
