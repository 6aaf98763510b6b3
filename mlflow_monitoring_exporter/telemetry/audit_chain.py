"""The audit file: lines that are chained by hashes, so that a changed, missing or cut-off one is found.

::

    line    {..., "number": 7, "previous": "<hash of line 6>", "hash": "<of previous, number and the rest>"}
    head    <file>.head: number and hash of the last line, so that an end that is cut off is found, too

The chain goes on through all parts, of which there is one for each day. Several processes may append: the daemon and
commands beside it. Write access to the files is enough for a new chain; copies of ``hash`` elsewhere tell.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mlflow_monitoring_exporter.telemetry.daily_file import dated, too_old

_LINK = re.compile(r'^(.*), "number": (\d+), "previous": "(\w*)", "hash": "(\w{64})"\}$', re.DOTALL)


class AuditFile(logging.Handler):
    """Appends each record, formatted as a JSON object, to the chain in ``file``; parts older than ``days`` go."""

    def __init__(self, file: Path, days: int) -> None:
        super().__init__()
        self._file, self._days = file, days
        with file.open("a", encoding="utf-8"):  # or it is known too late that it cannot be written
            pass

    def emit(self, record: logging.LogRecord) -> None:
        try:
            append(self._file, self.format(record), self._days)
        except OSError:
            self.handleError(record)


def append(file: Path, text: str, days: int) -> None:
    """One more line: ``text`` is a JSON object.

    :raises OSError: it cannot be written.
    """
    now = time.time()
    with _locked(file):
        _rotate(file, now)
        number, previous = _behind(file, *_head(file))
        number += 1
        digest = _hash(text, number, previous)
        line = f'{text[:-1]}, "number": {number}, "previous": "{previous}", "hash": "{digest}"}}\n'
        with file.open("ab+") as opened:
            # Half a line of a process that was killed is no part of this one.
            opened.write(b"\n" * _is_torn(opened) + line.encode("utf-8"))
            opened.flush()
            os.fsync(opened.fileno())
        draft = file.with_name(f"{file.name}.head.{os.getpid()}")
        draft.write_text(json.dumps({"number": number, "hash": digest}), "utf-8")
        draft.replace(_head_of(file))
        for path in too_old(file, days, now):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line, or behind it; ``line`` counts from 1 in its file."""

    file: Path
    line: int
    what: str


@dataclass(slots=True)
class Verdict:
    """How many lines were looked at, the number of the first one, and what is wrong."""

    lines: int = 0
    first: int | None = None
    faults: list[Fault] = field(default_factory=list)


def verify(file: Path) -> Verdict:
    """Look at every part of an audit file.

    :raises OSError: one cannot be read, or there is none.
    """
    found = Verdict()
    number, previous = 0, ""
    where = file, 0
    with _locked(file):
        for path in parts(file):
            for place, line in enumerate(lines(path), start=1):
                where = path, place
                found.lines += 1
                said = _LINK.match(line)
                if said is None:
                    found.faults.append(Fault(path, place, "is not a line of the chain, or was changed"))
                    continue
                its = int(said[2])
                if found.first is None:
                    found.first = its  # what was before it is older than the retention
                elif its > number + 1:
                    found.faults.append(Fault(path, place, f"{_missing(number + 1, its - 1)} before it"))
                elif its != number + 1 or said[3] != previous:
                    found.faults.append(Fault(path, place, "does not follow the line before it"))
                if _hash(f"{said[1]}}}", its, said[3]) != said[4]:
                    found.faults.append(Fault(path, place, "was changed"))
                number, previous = its, said[4]
        found.faults.extend(_end(file, where, number, previous))
    return found


def _end(file: Path, where: tuple[Path, int], number: int, previous: str) -> Iterator[Fault]:
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        head = json.loads(_head_of(file).read_text("utf-8"))
        last = int(head["number"])
        if last > number:
            yield Fault(*where, f"{_missing(number + 1, last)} behind it: the end is cut off")
        elif last == number and head["hash"] != previous:
            yield Fault(*where, "is not the line that was written last")
        return
    if number:
        yield Fault(_head_of(file), 1, "cannot be read; an end that is cut off would not be found")


def _missing(first: int, last: int) -> str:
    return f"line {first} is missing" if first == last else f"lines {first} to {last} are missing"


def parts(file: Path) -> list[Path]:
    """All files of the chain, oldest first."""
    return [*(path for _, path in dated(file)), *([file] if file.exists() else [])]


def lines(file: Path) -> list[str]:
    """Of one part. Only a line feed ends one: what else Unicode takes for an end may be in a text.

    :raises OSError: it cannot be read.
    """
    found = file.read_bytes().decode("utf-8", errors="replace").split("\n")
    return found if found[-1] else found[:-1]


def _rotate(file: Path, now: float) -> None:
    """What was written on another day becomes a part of its own."""
    with suppress(FileNotFoundError):
        status = file.stat()
        day = datetime.fromtimestamp(status.st_mtime, UTC).date()
        if status.st_size and day != datetime.fromtimestamp(now, UTC).date():
            target = file.with_name(f"{file.name}.{day.isoformat()}")
            if not target.exists():  # a clock that was set back: the chain goes on where it is
                file.rename(target)


def _head(file: Path) -> tuple[int, str]:
    """Number and hash of the last line: of the head, or where that is lost, of the line itself."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        said = json.loads(_head_of(file).read_text("utf-8"))
        return int(said["number"]), str(said["hash"])
    for path in reversed(parts(file)):
        for line in reversed(lines(path)):
            if said_there := _LINK.match(line):
                return int(said_there[2]), said_there[4]
    return 0, ""


def _behind(file: Path, number: int, previous: str) -> tuple[int, str]:
    """The head, or the line behind it, of a process that was killed before it could say so."""
    with suppress(FileNotFoundError):
        for line in reversed(lines(file)):
            if (said := _LINK.match(line)) is None:
                continue
            its = int(said[2])
            if its == number + 1 and said[3] == previous and _hash(f"{said[1]}}}", its, said[3]) == said[4]:
                return its, said[4]
            break
    return number, previous


def _is_torn(opened: BinaryIO) -> bool:
    if not opened.tell():
        return False
    opened.seek(-1, os.SEEK_END)
    return opened.read(1) != b"\n"


def _head_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.head")


def _hash(text: str, number: int, previous: str) -> str:
    return hashlib.sha256(f"{previous}\n{number}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.with_name(f"{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
