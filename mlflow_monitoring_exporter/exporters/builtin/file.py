"""Writes every sample as one line of JSON.

::

    exporters:
      file:
        type: file
        path: mlflow-metrics.jsonl
        max_size: 100MB                # then it becomes mlflow-metrics.jsonl.1, and so on
        keep: 5                        # rotated files; older ones are deleted

A line is one element of ``metrics`` in docs/pramathus.openapi.yaml. A batch counts as delivered once
all of it is synced to the disk. What a full disk cut off is taken back; of what a kill cut off, the
unfinished line is, so the first lines of that batch may be there twice.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import Field

from mlflow_monitoring_exporter.config.fields import Size
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem, RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.record import RECORD
from mlflow_monitoring_exporter.exporters.record_lines import RecordLines

_TAIL = 64 * 1024


class FileConfig(BatchExporterConfig):
    """JSON lines in a file that rotates."""

    type: Literal["file"]
    path: Path = Field(Path("mlflow-metrics.jsonl"), description="directories are made as needed")
    max_size: Size = Field(100_000_000, description="rotated before a batch would make it larger")
    keep: int = Field(5, ge=0, description="rotated files that stay")


class FileExporter:
    """One file. It is opened for each batch, so that whoever else writes or rotates it is not disturbed."""

    def __init__(self, config: FileConfig) -> None:
        self._config = config
        self._path = config.path
        self._records = RecordLines(RECORD)

    def start(self) -> None:
        """Make the file if need be, and cut off a line that a kill left unfinished."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            obstacle = self._obstacle()
            if obstacle is None:
                self._append(b"")
        except OSError as error:
            obstacle = error.strerror
        if obstacle:
            raise ConfigError([ConfigProblem(str(self._path), "", f"cannot write this file: {obstacle}")])

    def check(self) -> None:
        """Whether the file could be written; nothing is."""
        try:
            obstacle = self._obstacle()
        except OSError as error:
            obstacle = error.strerror
        if obstacle:
            raise RetryableExportError(f"{self._path} cannot be written: {obstacle}")

    def export(self, payload: Batch, *, deadline: Deadline) -> None:  # a disk knows no deadline
        lines = b"".join(line + b"\n" for line in self._records.of(payload.samples))
        try:
            self._append(lines)
        except OSError as error:
            raise RetryableExportError(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open between batches."""

    def _obstacle(self) -> str | None:
        """What stands in the way, as far as can be seen without writing. Raises OSError."""
        place = self._path
        while not place.exists() and place != place.parent:
            place = place.parent
        if place == self._path and not place.is_file():  # a pipe would wait for its reader
            return "it is a directory" if place.is_dir() else "it is not a regular file"
        if place != self._path and not place.is_dir():
            return f"{place} is not a directory"
        writable = os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0))
        return None if writable else f"no permission on {place}"

    def _append(self, lines: bytes) -> None:
        with self._held() as handle:
            size = os.fstat(handle).st_size
            rotate = bool(size and lines and size + len(lines) > self._config.max_size)
            if rotate:
                self._rotate()
            else:
                self._write(handle, lines)
        if rotate:
            self._append(lines)

    @contextmanager
    def _held(self) -> Iterator[int]:
        """The file, open and locked until the end of the block: replicas may share it."""
        while True:
            is_new = not self._path.exists()
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not self._is_current(handle):
                    continue  # it was rotated while we waited for the lock
                if is_new:
                    self._sync_directory()
                yield handle
                return
            finally:
                os.close(handle)

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self._path.stat())
        except FileNotFoundError:
            return False

    def _write(self, handle: int, lines: bytes) -> None:
        before = os.fstat(handle).st_size
        if before and os.pread(handle, 1, before - 1) != b"\n":
            before = self._repair(handle)
        try:
            view = memoryview(lines)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, before)
            raise

    @staticmethod
    def _repair(handle: int) -> int:
        """Cut off a last line without an end, and return the size that is left."""
        with os.fdopen(os.dup(handle), "r+b") as file:
            end = file.seek(0, os.SEEK_END)
            keep = end
            while keep:
                start = max(0, keep - _TAIL)
                file.seek(start)
                newline = file.read(keep - start).rfind(b"\n")
                if newline >= 0:
                    keep = start + newline + 1
                    break
                keep = start
            if keep != end:
                file.truncate(keep)
                os.fsync(file.fileno())
            return keep

    def _rotate(self) -> None:
        keep = self._config.keep
        if keep == 0:
            self._path.unlink()
            return
        for number in range(keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        self._sync_directory()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _sync_directory(self) -> None:
        """A new name is durable once its directory is."""
        handle = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


plugin = ExporterPlugin(
    config=FileConfig,
    create=FileExporter,
    mode=DeliveryMode.EVERY,
    target=lambda config: str(config.path),
)
