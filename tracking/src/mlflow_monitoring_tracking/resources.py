"""What a block of a program needs: processor time and memory, as an operation."""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, Self

from mlflow_monitoring_tracking.operations import operation_logger


def monitor_resources(kind: str, **fields: Any) -> Monitored:
    """For ``with`` and as a decorator: an operation with processor time and memory at its end.

    Numbers are of this process and of children that have ended. ``peak_memory_bytes`` is the highest that the process
    ever had, which is all that the system tells without an extra.
    """
    return Monitored(kind, fields)


class Monitored(ContextDecorator):
    """A block, or each call of a function, as an operation that says at its end what it needed."""

    def __init__(self, kind: str, fields: dict[str, Any]) -> None:
        self._kind = kind
        self._fields = fields
        self._entered = threading.local()

    def __enter__(self) -> Self:
        self._entered.stack = [*getattr(self._entered, "stack", ()), (self._begin(), time.monotonic(), _cpu_seconds())]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        operation_id, began, cpu = self._entered.stack.pop()
        wall, used = time.monotonic() - began, _cpu_seconds() - cpu
        needed = {"cpu_seconds": used, "peak_memory_bytes": _peak_memory()}
        if wall > 0:
            needed["cpu_percent"] = 100 * used / wall
        if error is None:
            operation_logger.complete(self._kind, operation_id, metrics=needed)
        else:
            operation_logger.progress(self._kind, operation_id, 0.0, **needed)
            operation_logger.fail(self._kind, operation_id, error)

    def _begin(self) -> str:
        return operation_logger.start(self._kind, **self._fields)


def _cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _peak_memory() -> int:
    """Linux counts kilobytes, macOS bytes (getrusage(2))."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
