"""Where what lies in a spool.

::

    <spool>/<run key>/                       one directory for each run, its name quoted like a URL's
        <writer>-000001.seg                  segments, in order; one writer for each process
        <writer>.alive                       locked by its writer for as long as it lives, touched every few seconds
        files/<name>                         copies of artifacts that are not uploaded yet
        sent/<back end>.json                 how far each back end is: run, offsets, counts
        set-aside/<back end>.jsonl           what a back end refused, with its reason
        complete.json                        the back ends that have all of a run that ended
        trimmed.json                         sums of what was in segments that were removed before the run ended
        sender.lock                          held by the one process that sends this run
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

#: Bytes of a file's name that every file system takes, with room for what is appended.
_LONGEST_NAME = 120
_SEGMENT = re.compile(r"(?P<writer>.+)-(?P<number>[0-9]{6})\.seg")


def directory_name(run_key: str) -> str:
    """The name of a run's directory: the key itself where that is a plain name."""
    quoted = quote(run_key, safe="").replace("~", "%7E")
    if quoted.startswith("."):
        quoted = f"%2E{quoted[1:]}"
    if len(quoted) <= _LONGEST_NAME:
        return quoted
    return f"{quoted[: _LONGEST_NAME - 17]}~{hashlib.sha256(run_key.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """Which segment a file is. Segments of one writer are in order of their numbers."""

    writer: str
    number: int

    def __str__(self) -> str:
        return f"{self.writer}-{self.number:06}.seg"

    @classmethod
    def of(cls, name: str) -> SegmentName | None:
        """None for a file that is no segment."""
        found = _SEGMENT.fullmatch(name)
        return cls(found["writer"], int(found["number"])) if found else None


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The paths of one run's directory."""

    path: Path

    @property
    def label(self) -> str:
        """The run key, or what is left of it where it was too long for a name."""
        return unquote(self.path.name)

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def lock(self) -> Path:
        return self.path / "sender.lock"

    @property
    def complete(self) -> Path:
        return self.path / "complete.json"

    @property
    def trimmed(self) -> Path:
        return self.path / "trimmed.json"

    def sampler(self, host: str) -> Path:
        return self.path / f"{host}.sampler"

    def alive(self, writer: str) -> Path:
        return self.path / f"{writer}.alive"

    def sent(self, back_end: str) -> Path:
        return self.path / "sent" / f"{quote(back_end, safe='')}.json"

    def of_back_end(self, back_end: str) -> Path:
        return self.path / "sent" / quote(back_end, safe="")

    def set_aside(self, back_end: str) -> Path:
        return self.path / "set-aside" / f"{quote(back_end, safe='')}.jsonl"

    def segment(self, name: SegmentName) -> Path:
        return self.path / str(name)

    def segments(self) -> list[SegmentName]:
        """In the order in which their writers began, and then of their numbers."""
        return sorted(found for name in _names(self.path) if (found := SegmentName.of(name)))


def run_directory(spool: Path, run_key: str) -> RunDirectory:
    """Of one run; it need not exist."""
    return RunDirectory(spool / directory_name(run_key))


def run_directories(spool: Path) -> Iterator[RunDirectory]:
    """All runs of a spool, oldest names first."""
    for name in sorted(_names(spool)):
        if (spool / name).is_dir():
            yield RunDirectory(spool / name)


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []
