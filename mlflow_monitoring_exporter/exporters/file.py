"""Writes every sample as one line of JSON.

::

    exporters:
      file:
        type: file
        path: mlflow-metrics.jsonl
        max_size: 100MB                # then it becomes mlflow-metrics.jsonl.1, and so on
        keep: 5                        # rotated files; older ones are deleted

A line is one element of ``metrics`` in docs/pramathus.openapi.yaml. A batch is written whole and
synced to the disk, or not at all: what a full disk cut off is taken back, and what a kill cut off
is taken back at the next start.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field

from mlflow_monitoring_exporter.config.fields import Size
from mlflow_monitoring_exporter.config.section import BatchExporterConfig
from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.errors import ConfigError, ConfigProblem, RetryableExportError
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin
from mlflow_monitoring_exporter.exporters.record import to_record
from mlflow_monitoring_exporter.model import Batch

_TAIL = 64 * 1024


class FileConfig(BatchExporterConfig):
    """JSON lines in a file that rotates."""

    type: Literal["file"]
    path: Path = Field(Path("mlflow-metrics.jsonl"), description="directories are made as needed")
    max_size: Size = Field(100_000_000, description="rotated before a batch would make it larger")
    keep: int = Field(5, ge=0, description="rotated files that stay")


class FileExporter:
    """One file. It is opened for each batch, so that whoever else rotates it is not disturbed."""

    def __init__(self, config: FileConfig) -> None:
        self._config = config
        self._path = config.path

    def start(self) -> None:
        """Make the file if need be, and cut off a line that a kill left unfinished."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")
            self._repair()
        except OSError as error:
            problem = ConfigProblem("", str(self._path), f"cannot write this file: {error.strerror}")
            raise ConfigError([problem]) from error

    def check(self) -> None:
        """Whether the file could be written; nothing is."""
        place = self._path
        while not place.exists() and place != place.parent:
            place = place.parent
        writable = os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0))
        if self._path.is_dir() or not writable or (place != self._path and not place.is_dir()):
            reason = "it is a directory" if self._path.is_dir() else f"no permission on {place}"
            raise RetryableExportError(f"{self._path} cannot be written: {reason}")

    def export(self, payload: Batch, *, deadline: Deadline) -> None:  # noqa: ARG002 - a disk knows no deadline
        lines = b"".join(
            orjson.dumps(to_record(sample), option=orjson.OPT_APPEND_NEWLINE) for sample in payload.samples
        )
        try:
            size = self._path.stat().st_size if self._path.exists() else 0
            if size and size + len(lines) > self._config.max_size:
                self._rotate()
            self._append(lines)
        except OSError as error:
            raise RetryableExportError(f"{self._path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Nothing is open between batches."""

    def _append(self, lines: bytes) -> None:
        is_new = not self._path.exists()
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            before = os.fstat(handle).st_size
            try:
                view = memoryview(lines)
                while view:
                    view = view[os.write(handle, view) :]
                os.fsync(handle)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)
        if is_new:
            self._sync_directory()

    def _repair(self) -> None:
        with self._path.open("r+b") as file:
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
