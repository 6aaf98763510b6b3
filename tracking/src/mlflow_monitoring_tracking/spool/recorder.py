"""Record what a run logs, whatever becomes of the disk.

::

    level      what is written                                        until
    NORMAL     everything                                             the disk or the spool is full, or broken
    FULL       parameters, tags and the end, into the reserve;        there is room again
               of points the last, least and greatest of each key,
               when there is room again or the run ends
    UNUSABLE   nothing; the newest frames wait in memory              the spool can be written again

What is in no file and in no memory any more is counted, and a ``Lost`` record says so.
"""

from __future__ import annotations

import enum
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.records import Lost, Point, Points, Record, encode, encode_point, encode_points
from mlflow_monitoring_tracking.spool.segments import SegmentWriter

#: Frames that wait in memory while the spool cannot be written.
RING = 10_000
#: Seconds between two looks whether the disk has room again.
_RETRY = 1.0
#: Bytes of the reserve that only the end of a run may use.
_FOR_THE_END = 4096
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Level(enum.IntEnum):
    """How much of what is logged is kept."""

    NORMAL = 0
    FULL = 1
    UNUSABLE = 2


@dataclass(slots=True)
class Count:
    """What one process logged in one run: ``logged`` is what is in files, folded, waiting in memory, or lost."""

    points: int = 0
    lost_points: int = 0
    lost_records: int = 0


class _Folded:
    """The last, least and greatest point of each key, and how many there were."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Point]] = {}
        self.points = 0

    def add(self, point: Point) -> None:
        self.points += 1
        kept = self._kept.setdefault(point.key, [point, point, point])
        kept[0] = point
        if point.value < kept[1].value:
            kept[1] = point
        if point.value > kept[2].value:
            kept[2] = point

    def kept(self) -> list[Point]:
        """In order of time, each once."""
        return sorted({id(p): p for three in self._kept.values() for p in three}.values(), key=lambda p: p.time_ms)


class Recorder:
    """Writes one process's records of one run; never raises for a disk. Safe for threads and signal handlers.

    ``open_writer`` opens segments and may raise OSError; ``told`` hears of every change of the level and why.
    """

    def __init__(self, open_writer: Callable[[], SegmentWriter], told: Callable[[Level, str], None]) -> None:
        self._open_writer = open_writer
        self._told = told
        # A signal handler may end the run in the middle of a call of the same thread.
        self.lock = threading.RLock()
        self.level = Level.NORMAL
        self.count = Count()
        self.dirty = False  # written since the last fdatasync
        self.crowded = False  # points are folded though the disk has room
        self._writer: SegmentWriter | None = None
        self._folded = _Folded()
        self._ring: deque[tuple[bytes, int]] = deque()
        self._unsaid = Lost(0, 0, "")
        self._retry_at = 0.0
        self._last_place: tuple[str, Place] | None = None

    @property
    def writer(self) -> SegmentWriter | None:
        """What is written to; None before the first record and while there is nothing to write to."""
        return self._writer

    @property
    def place(self) -> tuple[str, Place] | None:
        """The writer's name and how much it wrote; None while something waits in memory or nothing was written."""
        with self.lock:
            if self._ring or self.level is Level.UNUSABLE:
                return None
            return self._writer.place if self._writer is not None else self._last_place

    def crowd(self, *, is_crowded: bool) -> None:
        """The whole spool is near what it may take, or is not any more: of points only those that stand for many."""
        if is_crowded is not self.crowded:
            with self.lock:
                self.crowded = is_crowded
                self._told(Level.FULL if is_crowded else self.level, "spool.max_bytes")
                if not is_crowded:
                    self._write_kept()

    def open(self) -> None:
        """Make the first segment now, so that there is something to see of a run that logs nothing."""
        with self.lock:
            self._recover(now=True)

    def point(self, key: str, value: float, step: int | None, time_ms: int) -> None:
        """Record one point. To be called under ``lock``."""
        self.count.points += 1
        if self.level is Level.NORMAL and not self.crowded and self._writer is not None:
            try:
                self._writer.append(encode_point(key, value, step, time_ms))
            except OSError as error:
                self._fails(error)
            else:
                self.dirty = True
                return
        self._degraded_points([Point(key, value, step, time_ms)])

    def points(self, values: Sequence[tuple[str, float]], step: int | None, time_ms: int) -> None:
        """Record points of one step and time. To be called under ``lock``."""
        self.count.points += len(values)
        if self.level is Level.NORMAL and not self.crowded and self._writer is not None:
            try:
                self._writer.append(encode_points(values, step, time_ms))
            except OSError as error:
                self._fails(error)
            else:
                self.dirty = True
                return
        self._degraded_points([Point(key, value, step, time_ms) for key, value in values])

    def record(self, record: Record, *, last: bool = False) -> None:
        """Record anything else. ``last`` is the end of the run: it may use the rest of the reserve."""
        with self.lock:
            self._recover(now=last)
            if last:
                self._write_kept()
            self._write(encode(record), points=0, leave=0 if last else _FOR_THE_END)

    def close(self, *, ended: bool) -> None:
        """Write no more; what waits in memory is lost, and counted."""
        with self.lock:
            if self._ring:
                self._recover(now=True)
            if self._writer is not None:
                self._last_place = self._writer.place
                self._writer.close(ended=ended)
                self._writer = None
            for _, points in self._ring:
                self._lose(points, "the spool could not be written until the end")
            self._ring.clear()

    def forget(self) -> None:
        """In a forked child: begin anew, with a file of its own."""
        self.lock = threading.RLock()
        if self._writer is not None:
            self._writer.forget()
            self._writer = None
        self.level, self.count, self._folded, self._unsaid = Level.NORMAL, Count(), _Folded(), Lost(0, 0, "")
        self._ring.clear()
        self._retry_at = 0.0

    def _degraded_points(self, points: list[Point]) -> None:
        self._recover()
        if self._writer is not None and self.level is Level.NORMAL and not self.crowded:
            self._write(encode(Points(tuple(points))), points=len(points))
        elif self.level is Level.UNUSABLE or self._writer is None:
            self._keep_in_memory(encode(Points(tuple(points))), len(points))
        else:
            for point in points:
                self._folded.add(point)

    def _write(self, frame: bytes, *, points: int, leave: int = _FOR_THE_END) -> None:
        if self._writer is not None and self.level is not Level.UNUSABLE:
            try:
                if self.level is Level.NORMAL:
                    self._writer.append(frame)
                    self.dirty = True
                    return
            except OSError as error:
                self._fails(error)
            if self.level is Level.FULL and self._into_reserve(frame, leave):
                return
        self._keep_in_memory(frame, points)

    def _into_reserve(self, frame: bytes, leave: int) -> bool:
        assert self._writer is not None  # noqa: S101 - FULL is a level of an open writer
        try:
            fitted = self._writer.append_to_reserve(frame, leave=leave)
        except OSError as error:
            self._fails(error)
            return False
        self.dirty |= fitted
        return fitted

    def _keep_in_memory(self, frame: bytes, points: int) -> None:
        if len(self._ring) >= RING:
            _, oldest = self._ring.popleft()
            self._lose(oldest, "the spool could not be written for long")
        self._ring.append((frame, points))

    def _lose(self, points: int, reason: str) -> None:
        records = 0 if points else 1
        self.count.lost_points += points
        self.count.lost_records += records
        self._unsaid = Lost(self._unsaid.points + points, self._unsaid.records + records, reason)

    def _fails(self, error: OSError) -> None:
        self._retry_at = time.monotonic() + _RETRY
        self._change(Level.FULL if error.errno in _FULL_DISK and self._writer else Level.UNUSABLE, str(error))

    def _change(self, level: Level, why: str) -> None:
        if level is not self.level:
            self.level = level
            self._told(level, why)

    def _recover(self, *, now: bool = False) -> None:
        """Open the spool if it is not, and write what waited, once a second at most."""
        if self._writer is not None and self.level is Level.NORMAL:
            return
        if not now and time.monotonic() < self._retry_at:
            return
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            else:
                self._writer.reopen()
        except OSError as error:
            self._fails(error)
            return
        self._change(Level.NORMAL, "the spool can be written again")
        waiting = list(self._ring)
        self._ring.clear()
        for frame, points in waiting:
            self._write(frame, points=points)
        if not self.crowded:
            self._write_kept()

    def _write_kept(self) -> None:
        """Write the points that stand for all that were folded, and how many those were."""
        folded, self._folded = self._folded, _Folded()
        kept = folded.kept()
        written = 0
        for point in kept:
            frame = encode(Points((point,)))
            if self.level is Level.NORMAL:
                self._write(frame, points=1)
            elif self.level is not Level.FULL or not self._into_reserve(frame, _FOR_THE_END):
                continue
            written += 1
        if folded.points > written:
            self._lose(folded.points - written, "the disk was full")
        if (self._unsaid.points or self._unsaid.records) and self.level is not Level.UNUSABLE:
            unsaid, self._unsaid = self._unsaid, Lost(0, 0, "")
            self._write(encode(unsaid), points=0, leave=1024)
