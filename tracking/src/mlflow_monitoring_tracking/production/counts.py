"""Numbers that only grow, in a file that is mapped into memory: an addition costs what it costs in memory, and survives
``kill -9``.

::

    file    magic (8), used (8), then entries up to ``used``
    entry   length of the key (4), how many numbers (4), the key in UTF-8, zeros up to a multiple of 8, the numbers

A number is a double of 8 bytes at a multiple of 8, so a reader in another process sees the old one or the new one. An
entry is written whole before ``used`` takes it in, so a process that dies in between leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

MAGIC = b"TRKCNT1\0"
_HEAD = 16
_ENTRY = struct.Struct("<II")
_USED = struct.Struct("<Q")
#: Bytes of a new file; it is doubled when it is full.
_FIRST = 1 << 16
#: Bytes of a key at most, and numbers of one entry.
LONGEST_KEY, MOST_NUMBERS = 1 << 16, 1 << 12


class DamagedCountsError(ValueError):
    """A file is not one of these, or not whole."""


class Counts:
    """The file of one process, open for writing.

    :raises OSError: it cannot be made.
    :raises DamagedCountsError: it is there, and is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._vectors: dict[str, memoryview[float]] = {}
        self._lock: int | None = None
        if os.fstat(self._descriptor).st_size == 0:
            os.ftruncate(self._descriptor, _FIRST)
            os.pwrite(self._descriptor, MAGIC + _USED.pack(_HEAD), 0)
        self._map = mmap.mmap(self._descriptor, 0)
        self._used = _checked(self._map)
        for key, at, count in _entries(self._map, self._used):
            self._vectors[key] = self._view(at, count)

    def lock(self) -> None:
        """Hold its lock until it is closed, or the process ends.

        On a descriptor of its own: a map keeps the one that it was made with, and a lock with it, for as long as
        there is a vector.
        """
        self._lock = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def vector(self, key: str, count: int) -> memoryview[float]:
        """The numbers of this key, at first all 0: doubles that may be added to in place. The same ones each time.

        :raises ValueError: the key has another count of numbers, or is too long.
        """
        known = self._vectors.get(key)
        if known is not None:
            if len(known) != count:
                raise ValueError(f"{key} has {len(known)} numbers, not {count}")
            return known
        return self._add(key, count)

    def close(self) -> None:
        """Close the file; vectors that were handed out go on writing to it as long as there is a reference to them."""
        self._vectors.clear()
        os.close(self._descriptor)
        if self._lock is not None:
            os.close(self._lock)

    def forget(self) -> None:
        """In a forked child: leave the parent's file, and its lock, alone."""
        self.close()

    def _add(self, key: str, count: int) -> memoryview[float]:
        name = key.encode()
        if len(name) > LONGEST_KEY or not 0 < count <= MOST_NUMBERS:
            raise ValueError(f"a key of {len(name)} bytes with {count} numbers is too large")
        at = self._used + _padded(_ENTRY.size + len(name))
        end = at + 8 * count
        if end > len(self._map):
            self._grow(end)
        self._map[self._used : self._used + _ENTRY.size] = _ENTRY.pack(len(name), count)
        self._map[self._used + _ENTRY.size : self._used + _ENTRY.size + len(name)] = name
        self._map[8:16] = _USED.pack(end)
        self._used = end
        made = self._vectors[key] = self._view(at, count)
        return made

    def _grow(self, needed: int) -> None:
        """A larger map of the same file: what was handed out stays where it is, in the old one."""
        size = len(self._map)
        while size < needed:
            size *= 2
        os.ftruncate(self._descriptor, size)
        self._map = mmap.mmap(self._descriptor, size)

    def _view(self, at: int, count: int) -> memoryview[float]:
        return memoryview(self._map)[at : at + 8 * count].cast("d")


def read_counts(path: Path) -> dict[str, list[float]]:
    """All numbers of a file, by key, as they are now; another process may go on adding to them.

    :raises OSError: it cannot be read.
    :raises DamagedCountsError: it is not one of these files.
    """
    data = path.read_bytes()
    used = _checked(data)
    return {key: list(struct.unpack_from(f"<{count}d", data, at)) for key, at, count in _entries(data, used)}


def added(totals: Mapping[str, list[float]], more: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Both together. Where one has more numbers than the other, as after an upgrade, the first ones are added."""
    found = {key: list(values) for key, values in totals.items()}
    for key, values in more.items():
        known = found.setdefault(key, [])
        known.extend([0.0] * (len(values) - len(known)))
        for at, value in enumerate(values):
            known[at] += value
    return found


def _checked(data: bytes | mmap.mmap) -> int:
    """How much is used."""
    if len(data) < _HEAD or bytes(data[:8]) != MAGIC:
        raise DamagedCountsError("is no file of counts")
    (used,) = _USED.unpack(data[8:16])
    if not _HEAD <= used <= len(data):
        raise DamagedCountsError("is cut short")
    return int(used)


def _entries(data: bytes | mmap.mmap, used: int) -> Iterator[tuple[str, int, int]]:
    """Key, where its numbers are, and how many."""
    at = _HEAD
    while at < used:
        length, count = _ENTRY.unpack(data[at : at + _ENTRY.size])
        numbers = at + _padded(_ENTRY.size + length)
        end = numbers + 8 * count
        if end > used or length > LONGEST_KEY or count > MOST_NUMBERS:
            raise DamagedCountsError("holds an entry that is not whole")
        yield bytes(data[at + _ENTRY.size : at + _ENTRY.size + length]).decode(), numbers, count
        at = end


def _padded(size: int) -> int:
    return -(-size // 8) * 8
