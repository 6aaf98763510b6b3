"""Ends what takes too long: one thread for all requests of a process.

A timer of its own for each request would start a thread each time, and wait for it: more than a small request
to a near server takes. Here a request only notes when it is due; the thread sleeps until the earliest of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_monitoring_exporter.core.deadline import Deadline


class Watchdog:
    """Calls what was given to :meth:`watching` when its deadline passes. For several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wakes = 0.0
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, deadline: Deadline, end: Callable[[], None]) -> Iterator[None]:
        """``end`` is called once if the block still runs when ``deadline`` passes, and never after the block.

        It must be quick, and raises nothing.
        """
        token = object()
        when = time.monotonic() + deadline.remaining()
        with self._changed:
            self._due[token] = when, end
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            elif when < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due.pop(token, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for token in [token for token, (when, _) in self._due.items() if when <= now]:
                    self._due.pop(token)[1]()
                self._wakes = min((when for when, _ in self._due.values()), default=threading.TIMEOUT_MAX)
                self._changed.wait(min(self._wakes - now, threading.TIMEOUT_MAX))
