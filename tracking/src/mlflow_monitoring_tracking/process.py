"""What belongs to the process, not to one run: its open runs, its threads, its signals, its forks, its end."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.sending.sender import Sender

#: Seconds between two touches of what says that this process lives.
_TOUCH = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class OpenRun(Protocol):
    """What is asked of a run that has not ended."""

    @property
    def run_key(self) -> str: ...

    def set_tags(self, tags: Mapping[str, str], /) -> None: ...

    def end(self, status: str, /) -> None: ...

    def keep(self, *, touch: bool) -> None:
        """Bring what was written to the disk, once a second."""

    def forked(self) -> None:
        """This is a forked child."""


class Process:
    """The one of this interpreter: ``process``. Its hooks are set by the first run, not by the import."""

    def __init__(self) -> None:
        self._reset()
        self._watched = False
        self._handlers: dict[int, Any] = {}
        self._last: list[Callable[[], None]] = []

    def _reset(self) -> None:
        self.runs: dict[int, OpenRun] = {}
        self.senders: dict[str, tuple[Sender, float]] = {}
        self._begun = 0
        self.lock = threading.RLock()
        self.failure: str | None = None  # the last line of an exception that ended the program
        self.interrupted = False  # by a signal, or from the keyboard
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._parent = os.getppid()

    def add(self, run: OpenRun) -> None:
        """A run began in this process."""
        with self.lock:
            self.runs[id(run)] = run
            self._watch()
            self._maintain()

    def remove(self, run: OpenRun) -> None:
        """It ended."""
        with self.lock:
            self.runs.pop(id(run), None)

    def before_end(self, act: Callable[[], None]) -> None:
        """Have this done before the open runs end, in this process and in its forked children; it must not raise."""
        with self.lock:
            self._last.append(act)
            self._watch()

    @property
    def begun(self) -> int:
        """How many runs this process began without a key of the program's choice."""
        return self._begun

    def begins(self) -> int:
        """Which of the runs of this process the next one is: 1, 2, ..."""
        with self.lock:
            self._begun += 1
            return self._begun

    def sender(self, key: str, make: Callable[[], Sender], patience: float) -> Sender:
        """The one sender of a spool in this process. ``patience`` are the seconds that the exit waits for it."""
        with self.lock:
            if key not in self.senders:
                self.senders[key] = (make(), patience)
            found = self.senders[key][0]
            found.start()
            return found

    def _watch(self) -> None:
        """Hear of the end of the process, of forks and of signals. In the main thread only can signals be heard."""
        if not self._watched:
            self._watched = True
            atexit.register(self._at_exit)
            os.register_at_fork(
                before=self.lock.acquire, after_in_parent=self._after_fork, after_in_child=self._in_child
            )
            previous = sys.excepthook

            def note(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
                if issubclass(kind, KeyboardInterrupt):
                    self.interrupted = True
                else:
                    self.failure = last_line(error)
                previous(kind, error, where)

            sys.excepthook = note
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number not in self._handlers and signal.getsignal(number) not in {signal.SIG_IGN, None}:
                    self._handlers[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """The user's own handler comes first; if there is none, the runs end as KILLED and the signal does its work."""
        self.interrupted = True
        previous = self._handlers.get(number)
        if callable(previous):
            previous(number, frame)
            return
        self._end_all("KILLED")
        self._leave()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _at_exit(self) -> None:
        self._end_all("KILLED" if self.interrupted else "FAILED" if self.failure else "FINISHED")
        self._leave()

    def _end_all(self, status: str) -> None:
        for act in self._last:
            act()
        for run in reversed(list(self.runs.values())):
            if self.failure and status == "FAILED":
                run.set_tags({"tracking.failure": self.failure})
            run.end(status)

    def _leave(self) -> None:
        """Let the senders finish, for a bounded time, as long as what they send to answers."""
        until = time.monotonic() + max((patience for _, patience in self.senders.values()), default=0.0)
        for sender, _ in self.senders.values():
            sender.wait_settled(until)
        for sender, _ in self.senders.values():
            sender.stop(min(0.5, max(0.0, until - time.monotonic())))

    def _after_fork(self) -> None:
        self.lock.release()

    def _in_child(self) -> None:
        runs, senders, begun = list(self.runs.values()), list(self.senders.values()), self._begun
        self._reset()
        self._begun = begun
        for sender, _ in senders:
            sender.forget()
        for run in runs:
            run.forked()
            self.runs[id(run)] = run

    def _maintain(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._keep, name="tracking-spool", daemon=True)
            self._thread.start()

    def _keep(self) -> None:
        """Write to the disk what the system holds back, once a second; and say that this process lives."""
        touched = time.monotonic()
        while True:
            self._wake.wait(1.0)
            runs = list(self.runs.values())
            touch = time.monotonic() - touched >= _TOUCH
            if touch:
                touched = time.monotonic()
            for run in runs:
                run.keep(touch=touch)

    def revive(self) -> None:
        """In a forked child that logs: the thread that it does not have yet."""
        with self.lock:
            self._maintain()


def last_line(error: BaseException) -> str:
    """``ValueError: what it says``, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:1000]


process = Process()
