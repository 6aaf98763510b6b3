"""Write segments: one ``write`` for each frame, nothing torn behind it, and a reserve for when the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mlflow_monitoring_tracking.spool.frames import MAGIC
from mlflow_monitoring_tracking.spool.layout import RunDirectory, SegmentName
from mlflow_monitoring_tracking.spool.locks import HeldLock, acquire_new
from mlflow_monitoring_tracking.spool.places import Place

#: Bytes after which a new segment begins, so that what every back end has can be removed.
SEGMENT_BYTES = 8 * 2**20
#: Bytes allocated beforehand: the end of a run, parameters, tags and some points of each key fit in, whatever the disk.
RESERVE_BYTES = 256 * 2**10
_MODE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


class SegmentWriter:
    """The segments of one process in one run. Not for more than one thread at a time.

    ``opened`` is the frame that begins each segment.

    :raises OSError: nothing can be written there.
    """

    def __init__(self, directory: RunDirectory, writer: str, opened: bytes, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._writer = writer
        self._opened = opened
        self._segment_bytes = segment_bytes
        self._number = 0
        self._size = 0
        self._descriptor = -1
        self._reserve = -1  # its descriptor, while it is not in use
        self._reserve_left = 0  # bytes; positive while the current segment is the reserve
        directory.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._alive: HeldLock | None = acquire_new(directory.alive(writer))
        try:
            self.reopen()
        except OSError:
            self.close()
            raise

    @property
    def _reserve_path(self) -> Path:
        return self._directory.path / f"{self._writer}.reserve"

    @property
    def descriptor(self) -> int:
        """Of the segment that is written to; -1 when closed."""
        return self._descriptor

    @property
    def place(self) -> tuple[str, Place]:
        """The writer's name, and where the next frame will be."""
        return self._writer, Place(self._number, self._size)

    @property
    def in_reserve(self) -> bool:
        """Whether the current segment is the reserve: there is no room for another one."""
        return self._reserve_left > 0

    def append(self, frame: bytes) -> None:
        """Write one frame, whole or not at all.

        :raises OSError: it is not written; ENOSPC where the disk is full.
        """
        _write_whole(self._descriptor, frame)
        self._size += len(frame)
        if self._size >= self._segment_bytes:
            try:
                self.reopen()
            except OSError:
                self._segment_bytes *= 2  # no room for a new one: this one grows

    def append_to_reserve(self, frame: bytes, *, leave: int = 0) -> bool:
        """Write a frame into space that was allocated beforehand, so that ``leave`` bytes stay free; whether it fitted.

        :raises OSError: the disk is not only full, but broken.
        """
        if not self.in_reserve and not self._begin_reserve():
            return False
        if len(frame) + leave > self._reserve_left:
            return False
        written = os.pwrite(self._descriptor, frame, self._size)
        if written != len(frame):
            os.pwrite(self._descriptor, b"\0" * written, self._size)
            return False
        self._size += written
        self._reserve_left -= written
        return True

    def reopen(self) -> None:
        """Begin a new segment, and make a reserve for it.

        :raises OSError: there is no room; the old segment is still in use.
        """
        name = SegmentName(self._writer, self._number + 1)
        path = self._directory.segment(name)
        descriptor = os.open(path, _MODE | os.O_APPEND | os.O_EXCL, 0o600)
        try:
            begin = MAGIC + self._opened
            _write_whole(descriptor, begin)
            self._make_reserve()
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._use(descriptor, name.number, len(begin))

    def close(self, *, ended: bool = False) -> None:
        """Write no more. ``ended`` says that nothing is missing, so nobody needs to look whether this process lives."""
        for descriptor in (self._descriptor, self._reserve):
            if descriptor >= 0:
                os.close(descriptor)
        if self._reserve >= 0:
            self._reserve_path.unlink(missing_ok=True)
        self._descriptor = self._reserve = -1
        if self._alive is not None:
            self._alive.release(remove=ended)
            self._alive = None

    def forget(self) -> None:
        """In a forked child: let go of the parent's descriptors, and touch nothing of its."""
        for descriptor in (self._descriptor, self._reserve):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._reserve = -1
        if self._alive is not None:
            self._alive.forget()
            self._alive = None

    def touch(self) -> None:
        """Say that this process lives, where locks are not seen."""
        if self._alive is not None:
            self._alive.touch()

    def _make_reserve(self) -> None:
        if self._reserve >= 0:
            return
        descriptor = os.open(self._reserve_path, _MODE | os.O_TRUNC, 0o600)
        try:
            begin = MAGIC + self._opened
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            os.pwrite(descriptor, begin, 0)
        except OSError:
            os.close(descriptor)
            self._reserve_path.unlink(missing_ok=True)
            raise
        self._reserve = descriptor

    def _begin_reserve(self) -> bool:
        if self._reserve < 0:
            return False
        name = SegmentName(self._writer, self._number + 1)
        self._reserve_path.rename(self._directory.segment(name))
        begin = len(MAGIC) + len(self._opened)
        descriptor, self._reserve = self._reserve, -1
        self._use(descriptor, name.number, begin)
        self._reserve_left = RESERVE_BYTES - begin
        return True

    def _use(self, descriptor: int, number: int, size: int) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._number, self._size, self._reserve_left = descriptor, number, size, 0


def _write_whole(descriptor: int, data: bytes) -> None:
    """Append all of it or nothing.

    :raises OSError: nothing is written; ENOSPC where the disk is full.
    """
    written = os.write(descriptor, data)
    if written != len(data):
        # A full disk takes part of a frame without a word. What follows it would be unreadable.
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
