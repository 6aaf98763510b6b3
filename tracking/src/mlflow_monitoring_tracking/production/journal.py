"""What is known of single predictions, and what became of them: lines appended to a file of each process.

::

    ["d", deployment, model, version, keep]    of what the predictions are that follow
    ["p", id, ms, prediction]                  one that is kept
    ["t", deployment, id, ms, actual]          the truth of one
    ["x", deployment, ms, {"pnl": ...}, id]    the result of a trade, and what it was made of, or null

Truth and results are written at once, predictions some at a time: who dies takes the last second of them along. What
was written is the system's, and survives ``kill -9``.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.values import plain

#: Lines of predictions that wait at most, and for how many seconds.
_LINES, _SECONDS = 64, 1.0
#: Lines that wait for a disk that takes none, and seconds until predictions try again.
_MOST, _AGAIN = 100 * _LINES, 10.0
#: Bytes after which a process begins another file, so that what was read can be removed.
_LARGEST = 16_000_000
_ENDING = ".jsonl"


def is_kept(prediction_id: str, keep: float) -> bool:
    """Whether a prediction is among the share that is kept: the same answer in every process, for ever."""
    return keep >= 1.0 or zlib.crc32(prediction_id.encode("utf-8", "replace")) < keep * 2**32


class Journal:
    """The files of one process in ``directory``. Safe for threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._writer = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._number = 0
        self._descriptor = -1
        self._size = 0
        self._of: Served | None = None
        self._lines: list[str] = []
        self._since = 0.0
        self._not_before = 0.0

    def prediction(self, served: Served, keep: float, prediction_id: str, at_ms: int, prediction: Any) -> None:
        """Keep one, for its truth.

        :raises OSError: it cannot be written.
        """
        said, quoted = _said(prediction), json.dumps(prediction_id)
        with self._lock:
            lines = self._lines
            if not lines:
                self._since = time.monotonic()
            if served is not self._of:
                lines.append(json.dumps(["d", *served, keep]))
                self._of = served
            lines.append(f'["p",{quoted},{at_ms},{said}]')
            now = time.monotonic()
            if (len(lines) >= _LINES or now - self._since > _SECONDS) and now >= self._not_before:
                self._not_before = now + _AGAIN  # where it fails, and not with each prediction
                self._write()
                self._not_before = 0.0
            else:
                self._bound()

    def truth(self, deployment: str, prediction_id: str, at_ms: int, actual: Any) -> None:
        """Record what a prediction should have been.

        :raises OSError: it cannot be written.
        """
        self._append(json.dumps(["t", deployment, prediction_id, at_ms, _plain(actual)]))

    def result(
        self, deployment: str, at_ms: int, numbers: Mapping[str, float], prediction_id: str | None = None
    ) -> None:
        """Record the result of a trade.

        :raises OSError: it cannot be written.
        """
        self._append(json.dumps(["x", deployment, at_ms, {**numbers}, prediction_id]))

    def flush(self) -> None:
        """Write what waits.

        :raises OSError: it cannot be written; it goes on waiting, up to a bound.
        """
        # A signal may have come in the middle of a prediction, on this very thread.
        if self._lock.acquire(timeout=1.0):
            try:
                self._write()
            finally:
                self._lock.release()

    def _append(self, line: str) -> None:
        with self._lock:
            self._lines.append(line)
            self._write()

    def _write(self) -> None:
        if not self._lines:
            return
        data = ("\n".join(self._lines) + "\n").encode("utf-8", "replace")
        self._bound()
        if self._descriptor < 0:
            self._open()
        written = os.write(self._descriptor, data)
        self._lines.clear()
        self._size += written
        if self._size > _LARGEST or written < len(data):  # half a line is the last one of its file
            self._next()

    def _bound(self) -> None:
        """Let go of what waits for a disk that is full for long."""
        if len(self._lines) > _MOST:
            self._lines.clear()
            self._of = None

    def _next(self) -> None:
        """Go on in another file, which says for itself of what its predictions are."""
        self.forget()
        self._of = None

    def _open(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._number += 1
        hidden = self._directory / f".{self._writer}-{self._number:06}"
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as this process lives
        hidden.rename(self._directory / f"{self._writer}-{self._number:06}{_ENDING}")
        self._descriptor, self._size = descriptor, 0

    def forget(self) -> None:
        """Close the file; a forked child leaves its parent's alone so."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def journals(directory: Path) -> list[Path]:
    """Those of all processes, in order of their names."""
    return sorted(directory.glob(f"*{_ENDING}"))


def lines(path: Path, offset: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """Whole lines from there on: where each one ends, and what it says; one that is damaged says nothing.

    :raises OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                said = json.loads(line)
            except ValueError:
                said = ()
            yield offset, said if isinstance(said, list) else ()


def _said(value: Any) -> str:
    """As JSON; what most predictions are without the time that ``json.dumps`` takes."""
    kind = type(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is int or (kind is float and math.isfinite(value)):
        return repr(value)
    return json.dumps(_plain(value))


def _plain(value: Any) -> Any:
    """A number, text or truth, of whatever says that it is one."""
    value = plain(value)
    return value if isinstance(value, (bool, int, float, str)) else str(value)
