"""Frames: how one record lies in a segment file.

::

    segment = MAGIC frame*
    frame   = marker:2s  kind:u8  0:u8  length:u32  crc:u32  payload:length      little-endian

``crc`` is CRC-32 of kind and payload. A frame is written with one ``write``; behind the last one there is
nothing, or zeros (space that was allocated beforehand), or part of a frame whose writer died.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

MAGIC = b"MMTSPL\x01\n"
_MARKER = b"\xa5Z"
_HEAD = struct.Struct("<2sBBII")
_pack_head = _HEAD.pack
HEAD_SIZE = _HEAD.size
#: Bytes of one payload. What claims to be longer is damage.
MAX_PAYLOAD = 64 * 2**20


def frame(kind: int, payload: bytes) -> bytes:
    """One whole frame. ``kind`` is 0 to 255."""
    return _pack_head(_MARKER, kind, 0, len(payload), crc32(payload, kind)) + payload


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that was read: its payload, and where the next one begins."""

    kind: int
    payload: bytes
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes between two whole frames that are none."""

    start: int
    end: int


def read_frames(data: bytes, start: int = 0) -> Iterator[Frame | Damage]:
    """Whole frames of ``data`` from ``start`` on, and what is damaged between them.

    Ends without a word before a tail that is not a whole frame: its writer may be at it.
    """
    position = start
    while position + HEAD_SIZE <= len(data):
        found = _frame_at(data, position)
        if found is None:
            found = _next_frame(data, position + 1)
            if found is None:
                return
            begins = found.end - HEAD_SIZE - len(found.payload)
            yield Damage(position, begins)
        yield found
        position = found.end


def claimed_end(data: bytes) -> int | None:
    """Bytes that the frame at the beginning says it takes, more than there are if it is cut off; None without one."""
    if len(data) < HEAD_SIZE:
        return HEAD_SIZE if data[: len(_MARKER)] == _MARKER[: len(data)] else None
    marker, _, zero, length, _ = _HEAD.unpack_from(data)
    return None if marker != _MARKER or zero or length > MAX_PAYLOAD else HEAD_SIZE + length


def _frame_at(data: bytes, position: int) -> Frame | None:
    marker, kind, zero, length, crc = _HEAD.unpack_from(data, position)
    end = position + HEAD_SIZE + length
    if marker != _MARKER or zero or length > MAX_PAYLOAD or end > len(data):
        return None
    payload = data[position + HEAD_SIZE : end]
    return Frame(kind, payload, end) if crc32(payload, kind) == crc else None


def _next_frame(data: bytes, position: int) -> Frame | None:
    while (position := data.find(_MARKER, position)) >= 0 and position + HEAD_SIZE <= len(data):
        if found := _frame_at(data, position):
            return found
        position += 1
    return None
