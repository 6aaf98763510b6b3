"""Read what a process wrote: the records of one run, from any offset on, while it goes on writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlflow_monitoring_tracking.spool.frames import HEAD_SIZE, MAGIC, MAX_PAYLOAD, Damage, Frame, read_frames
from mlflow_monitoring_tracking.spool.layout import RunDirectory, SegmentName
from mlflow_monitoring_tracking.spool.locks import is_held
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened, Record, decode

#: Bytes that are read at once.
_CHUNK = 2**20


class SpoolFormatError(ValueError):
    """A segment that this release cannot read: of a newer format, or no segment at all."""


@dataclass(frozen=True, slots=True)
class Read:
    """One record, and the place behind it. A record of None is ``damaged`` bytes, or of a kind not known yet."""

    writer: str
    place: Place
    record: Record | None
    damaged: int = 0


def read_run(directory: RunDirectory, places: Mapping[str, Place]) -> Iterator[Read]:
    """All records behind ``places``, writer by writer.

    :raises SpoolFormatError: a segment cannot be read at all.
    :raises OSError: as of files.
    """
    for name in directory.segments():
        place = places.get(name.writer, Place(0, 0))
        if name.number >= place.number:
            yield from read_segment(directory, name, place.offset if name.number == place.number else 0)


def read_segment(directory: RunDirectory, name: SegmentName, offset: int = 0) -> Iterator[Read]:
    """Records of one segment from ``offset`` on."""
    with directory.segment(name).open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            file.seek(0)
            if MAGIC.startswith(file.read(len(MAGIC)).rstrip(b"\0")):
                return  # its writer has only just begun, or died at it
            raise SpoolFormatError(f"{directory.segment(name)} is no segment of a spool")
        base = max(offset, len(MAGIC))
        file.seek(base)
        data = b""
        while more := file.read(max(_CHUNK, len(data))):  # doubles where one frame is larger than what was read
            data += more
            used = 0
            for found in read_frames(data):
                if isinstance(found, Damage):
                    yield Read(name.writer, Place(name.number, base + found.end), None, found.end - found.start)
                else:
                    yield Read(name.writer, Place(name.number, base + found.end), *_record(found, directory, name))
                used = found.end
            data = data[used:]
            base += used
            if len(data) > MAX_PAYLOAD + HEAD_SIZE + _CHUNK:
                return


def _record(found: Frame, directory: RunDirectory, name: SegmentName) -> tuple[Record | None, int]:
    try:
        record = decode(found.kind, found.payload)
    except ValueError:
        return None, len(found.payload) + HEAD_SIZE
    if isinstance(record, Opened) and record.format > FORMAT:
        raise SpoolFormatError(f"{directory.segment(name)} has format {record.format}, this release reads {FORMAT}")
    return record, 0


def opened(directory: RunDirectory) -> Opened | None:
    """How the run began: by its owner's words if they are there, else by those of any writer; None before any."""
    first: Opened | None = None
    for name in directory.segments():
        for read in read_segment(directory, name):
            if isinstance(read.record, Opened):
                if read.record.owner:
                    return read.record
                first = first or read.record
            break
    return first


def living_writers(directory: RunDirectory) -> frozenset[str]:
    """Writers whose process is alive."""
    writers = {name.writer for name in directory.segments()}
    return frozenset(writer for writer in writers if is_held(directory.alive(writer)))
