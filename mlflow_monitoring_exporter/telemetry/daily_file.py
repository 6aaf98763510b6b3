"""A log file that is rotated daily, and whose old parts go by their date."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from logging.handlers import TimedRotatingFileHandler
from pathlib import Path

_DATED = re.compile(r"\.(\d{4}-\d\d-\d\d)$")


def dated(file: Path) -> Iterator[tuple[date, Path]]:
    """The parts of earlier days, ``<file>.2026-11-27``, oldest first."""
    found = []
    for path in file.parent.glob(f"{file.name}.*"):
        if path.name.startswith(f"{file.name}.") and (named := _DATED.fullmatch(path.name[len(file.name) :])):
            with suppress(ValueError):  # the 31st of February is not ours
                found.append((date.fromisoformat(named[1]), path))
    yield from sorted(found)


def too_old(file: Path, days: int, now: float) -> list[Path]:
    """Parts of days that are more than ``days`` ago, by UTC."""
    oldest = datetime.fromtimestamp(now, UTC).date() - timedelta(days=days)
    return [path for day, path in dated(file) if day < oldest]


class DailyFile(TimedRotatingFileHandler):
    """Python's own, which keeps a number of files; this one keeps days, and looks when it opens, too.

    So nothing depends on a process that runs at midnight.
    """

    def __init__(self, file: Path, days: int) -> None:
        self._file, self._days = file, days
        super().__init__(file, when="midnight", backupCount=days, encoding="utf-8", utc=True)
        for path in self.getFilesToDelete():
            with suppress(OSError):  # another process was faster
                Path(path).unlink()

    def getFilesToDelete(self) -> list[str]:  # noqa: N802 - the base class calls it so
        """What a rotation removes."""
        return [str(path) for path in too_old(self._file, self._days, time.time())]
