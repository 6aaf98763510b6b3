"""Verify segments: every checksum, and whether what is behind the last frame may be there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_monitoring_tracking.spool.frames import MAGIC, claimed_end
from mlflow_monitoring_tracking.spool.layout import RunDirectory, SegmentName
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError, living_writers, read_segment
from mlflow_monitoring_tracking.spool.segments import RESERVE_BYTES


@dataclass(frozen=True, slots=True)
class Finding:
    """Bytes of a segment that are no whole frame. ``is_damage`` is False for what a process that died may leave."""

    path: Path
    byte: int
    bytes: int
    what: str
    is_damage: bool = True


@dataclass(slots=True)
class Verified:
    """One segment: its whole frames, and what else is in it."""

    frames: int = 0
    findings: list[Finding] = field(default_factory=list)


def verify_run(directory: RunDirectory) -> Iterator[Verified]:
    """Verify all segments of a run, in order.

    :raises OSError: one cannot be read.
    """
    living = living_writers(directory)
    names = directory.segments()
    last = {name.writer: name for name in names}
    for name in names:
        is_last = last[name.writer] == name
        yield _verify(directory, name, is_last=is_last, is_written=is_last and name.writer in living)


def _verify(directory: RunDirectory, name: SegmentName, *, is_last: bool, is_written: bool) -> Verified:
    path, found, end = directory.segment(name), Verified(), 0
    try:
        for read in read_segment(directory, name):
            end = read.place.offset
            if read.damaged:
                what = "damaged: the checksum or the content is wrong"
                found.findings.append(Finding(path, end - read.damaged, read.damaged, what))
            else:
                found.frames += 1
    except SpoolFormatError as error:
        found.findings.append(Finding(path, 0, path.stat().st_size, str(error)))
        return found
    if not is_written and (rest := _rest(path, end, is_last=is_last)) is not None:
        found.findings.append(rest)
    return found


def _rest(path: Path, end: int, *, is_last: bool) -> Finding | None:
    """What is behind the last whole frame of a segment that nobody writes to."""
    with path.open("rb") as file:
        if end == 0 and file.read(len(MAGIC)) == MAGIC:
            end = len(MAGIC)
        file.seek(end)
        rest = file.read()
    written = rest.rstrip(b"\0")
    was_reserve = end + len(rest) == RESERVE_BYTES  # space that was allocated beforehand
    if not written:
        if not rest or was_reserve:
            return None
        return Finding(path, end, len(rest), "zeros: the machine stopped before the disk had what was written here")
    there = len(written) if was_reserve else len(rest)
    claimed = claimed_end(rest) if end else len(MAGIC)
    if is_last and claimed is not None and claimed > there:
        return Finding(path, end, there, "not whole: its writer died while it wrote this", is_damage=False)
    return Finding(path, end, there, "damaged: the checksum is wrong, or this is no frame")
