"""Told to stop, by SIGTERM or by Ctrl-C: whatever hangs, the process ends.

====================  ======================================================================
a signal              the main thread raises Interrupted, or does what :func:`handle` said
it is not over then   after ``PROMPT`` seconds, or what :func:`allow` allowed, the process ends
a second signal       the process ends at once
====================  ======================================================================

Python runs handlers on the main thread only, and not while that waits for a resolver or a database. So each signal
also wakes a thread, which ends the process when the time is up. What is durable is so at any instant.

Imports next to nothing: as process 1 of a container, one without a handler is not ended by a signal, and the rest of
the product takes half a second to import.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

#: Seconds.
PROMPT = 3.0
#: The exit code of a process that was told to stop twice.
TWICE = 130
_STOPS = (signal.SIGTERM, signal.SIGINT)
#: How soon a change of the time that is left is noticed, in seconds.
_NOTICE = 0.05


class Interrupted(BaseException):
    """Raised on the main thread, once. Not a KeyboardInterrupt, which typer ends without a word."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number

    def __str__(self) -> str:
        return "interrupted" if self.code == 128 + signal.SIGINT else "terminated"


class _Stop:
    """What this process does about the signals."""

    def __init__(self) -> None:
        self.handler: Callable[[int], None] | None = None
        self.last_words: Callable[[], None] = lambda: None
        self.code: int | None = None
        self.asked = 0
        self.end_at = math.inf
        self.heeded = False
        #: Whether the main thread was told. It may be before the other thread is.
        self.told = False
        self._raised = False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.told = True
        if self.handler is not None:
            self.handler(number)
        elif not self._raised:
            self._raised = True
            raise Interrupted(number)

    def watch(self, wakeups: int) -> None:
        """Runs on a thread of its own."""
        while True:
            if not select.select([wakeups], [], [], _NOTICE if self.asked else None)[0]:
                if time.monotonic() >= self.end_at:
                    self._end()
                continue
            for number in os.read(wakeups, 4096):
                if number in _STOPS:
                    self._hear(number)

    def _hear(self, number: int) -> None:
        self.asked += 1
        if self.asked > 1:
            os._exit(TWICE)
        if self.code is None:
            self.code = 128 + number
        self.end_at = time.monotonic() + PROMPT

    def _end(self) -> None:
        try:
            self.last_words()
        finally:
            os._exit(self.code or 0)


_stop = _Stop()


def heed() -> None:
    """From now on SIGTERM and Ctrl-C end this process, with Interrupted. To be called first, on the main thread."""
    _stop.heeded = True
    wakeups, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    _stop.last_words = _say_that_it_hangs
    threading.Thread(target=_stop.watch, args=(wakeups,), name="stop", daemon=True).start()
    for number in _STOPS:
        signal.signal(number, _stop.on_signal)


def handle(handler: Callable[[int], None], *, last_words: Callable[[], None] | None = None) -> None:
    """Call ``handler`` with the signal's number instead of raising; it is no failure then, and the exit code 0.

    ``last_words`` is called on another thread, when the process ends because the time is up.
    """
    if not _stop.heeded:
        heed()
    _stop.handler, _stop.code = handler, 0
    if last_words is not None:
        _stop.last_words = last_words


def allow(seconds: float) -> None:
    """So long from now may it take until the process has ended, if it was told to."""
    _stop.end_at = time.monotonic() + seconds


def leave(code: int = 0) -> None:
    """End the process now, if it was told to: everything is closed, and taking Python apart may take seconds, in
    which no thread could end it.
    """
    if _stop.told:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _say_that_it_hangs() -> None:
    sys.stderr.write("error: told to stop, without waiting any longer for what does not answer\n")
    sys.stderr.flush()
