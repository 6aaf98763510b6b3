"""What a run's rows at W&B are, and in which order: one line of JSON for each row, parameter change and file.

W&B knows rows by their number. So each row gets one before it is sent, in a file beside the spool's segments, and a
sender that goes on after a kill, whichever it is, sends the same rows under the same numbers.

::

    {"row": {"loss": 0.5, "tracking/step": 3, "_timestamp": 1700000000.123}}
    {"config": {"lr": "0.1"}}
    {"file": "/where/it/is", "path": "models/m/model.pkl"}
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.backends.contract import RunMoved
from mlflow_monitoring_tracking.backends.wandb.client import STEP_KEY
from mlflow_monitoring_tracking.spool.records import Point

_TIME_KEY = "_timestamp"
#: Before a key that W&B keeps for itself.
_ESCAPE = "metric/"
_Identity = tuple[str, int | None, int, str]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a journal: bytes, and the rows before it."""

    offset: int = 0
    rows: int = 0


class Journal:
    """Of one run. ``taken`` are the bytes whose points will not be handed over again, as they were saved as sent.

    :raises RunMoved: it is shorter: all of the run is needed again.
    :raises OSError: it cannot be read.
    """

    def __init__(self, path: Path, taken: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._size = self._repaired()
        if self._size < taken:
            raise RunMoved(f"{path} has {self._size} of {taken} bytes")
        self._unclaimed = self._identities(taken)
        self.taken = taken

    def add_points(self, points: Sequence[Point]) -> None:
        """Give rows to those points that have none. Points of one call of ``log_metrics`` share one.

        Those that have one are of a batch that was not saved as sent, and come again, perhaps in other company.
        """
        rows: list[dict[str, Any]] = []
        last: tuple[int | None, int] | None = None
        for point in points:
            identity = _identity(_key(point.key), point.step, point.time_ms, point.value)
            if identity in self._unclaimed:
                self._unclaimed.remove(identity)
                continue
            moment = point.step, point.time_ms
            if moment != last or _key(point.key) in rows[-1]:
                rows.append({_TIME_KEY: point.time_ms / 1000} | ({} if point.step is None else {STEP_KEY: point.step}))
                last = moment
            rows[-1][_key(point.key)] = point.value
        self._append([{"row": row} for row in rows])

    def add(self, entry: dict[str, Any]) -> None:
        """Anything else; to send it twice does no harm."""
        self._append([entry])

    def entries(self, mark: Mark, most: int) -> Iterator[tuple[list[tuple[int | None, dict[str, Any]]], Mark]]:
        """What is behind ``mark``, up to ``most`` at once; rows with their numbers. And where the next is."""
        rows, offset = mark.rows, mark.offset
        found: list[tuple[int | None, dict[str, Any]]] = []
        with self._path.open("rb") as file:
            file.seek(offset)
            for line in file:
                entry = json.loads(line)
                offset += len(line)
                if "row" in entry:
                    found.append((rows, entry))
                    rows += 1
                else:
                    found.append((None, entry))
                if len(found) >= most:
                    yield found, Mark(offset, rows)
                    found = []
        if found:
            yield found, Mark(offset, rows)

    def _append(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            data = "".join(f"{json.dumps(entry)}\n" for entry in entries).encode()
            with self._path.open("r+b") as file:
                file.seek(self._size)
                file.write(data)
                file.truncate()  # what an earlier write left behind when the disk was full
                file.flush()
                os.fdatasync(file.fileno())
            self._size += len(data)
        if not self._unclaimed:
            self.taken = self._size

    def _repaired(self) -> int:
        """Bytes of whole lines; a part of one is of a sender that was killed."""
        with self._path.open("a+b") as file:
            size = file.tell()
            while size:
                start = max(0, size - 2**16)
                file.seek(start)
                if (found := file.read(size - start).rfind(b"\n")) >= 0:
                    size = start + found + 1
                    break
                size = start
            file.truncate(size)
        return size

    def _identities(self, taken: int) -> set[_Identity]:
        found: set[_Identity] = set()
        for entries, _ in self.entries(Mark(taken), 1000):
            for _, entry in entries:
                row = entry.get("row", {})
                for key in row.keys() - {_TIME_KEY, STEP_KEY}:
                    found.add(_identity(key, row.get(STEP_KEY), round(row[_TIME_KEY] * 1000), row[key]))
        return found


def _key(key: str) -> str:
    """W&B's own keys begin with ``_``, and it takes no empty one."""
    return f"{_ESCAPE}{key}" if not key or key.startswith("_") or key == STEP_KEY else key


def _identity(key: str, step: int | None, time_ms: int, value: float) -> _Identity:
    return key, step, time_ms, "nan" if math.isnan(value) else float(value).hex()
