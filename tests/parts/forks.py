"""The command in a process of its own, without the second that importing it takes.

A server has imported what the command imports, and forks for each start: the fork gets the files, directory,
environment and arguments of the start, and runs ``python -m mlflow_monitoring_exporter`` from its first line. Tests of
the very beginning, or of what only an interpreter heeds, start one.
"""

from __future__ import annotations

import array
import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Protocol

PACKAGE = "mlflow_monitoring_exporter"
#: What most commands import. Not mlflow, which only a sample needs, and not what starts threads.
_IMPORTED = (
    *(f"{PACKAGE}.{name}" for name in ("cli.commands", "cli.progress", "config.load", "config.describe", "app.daemon")),
    *(f"{PACKAGE}.{name}" for name in ("app.export_once", "app.check", "app.backfill", "state.migrations")),
    *(f"{PACKAGE}.exporters.builtin.{name}" for name in ("file", "http_json", "prometheus", "pushgateway")),
)
#: What a sample imports besides, which takes some seconds.
OF_SAMPLES = (
    *("mlflow", "alembic.command", "rich.progress", f"{PACKAGE}.sample.live", f"{PACKAGE}.sample.generate"),
    *(f"mlflow.store.{name}.sqlalchemy_store" for name in ("tracking", "model_registry")),
)
#: Bytes of a request.
_LONGEST = 1 << 20


class Process(Protocol):
    """What tests need of a process."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


class Fork:
    """A forked command, with the interface of :class:`subprocess.Popen`."""

    def __init__(self, pid: int, end: socket.socket) -> None:
        self.pid = pid
        self._end = end
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        if self._code is None:
            self._end.settimeout(timeout)
            try:
                said = self._end.recv(16)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("the command", timeout or 0) from None
            self._code = int(said) if said else -signal.SIGKILL  # the server is gone, and took it along
            self._end.close()
        return self._code

    def send_signal(self, sig: int) -> None:
        """As a shell's kill; nothing once it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """Starts commands, for any thread. One for each process that runs tests.

    :param more: modules to import, too, because the commands would.
    """

    def __init__(self, *more: str) -> None:
        self._mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = Path(__file__).parents[2]
        kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("PYTHON")}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.parts.forks", *more],
            stdin=its.fileno(),
            cwd=root,
            env={**kept, "PYTHONPATH": str(root)},
        )
        its.close()
        self._lock = threading.Lock()
        atexit.register(self._mine.close)

    def start(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], files: tuple[IO[str] | int, ...]
    ) -> Fork:
        """Run the command with these as standard input, output and error."""
        ended, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        numbers = [file if isinstance(file, int) else file.fileno() for file in files]
        request = json.dumps({"arguments": [*arguments], "cwd": str(cwd), "env": {**env}}).encode()
        with self._lock:  # the answer is that to this request
            socket.send_fds(self._mine, [request], [*numbers, its.fileno()])
            pid = int(self._mine.recv(16))
        its.close()
        return Fork(pid, ended)


@dataclass(frozen=True, slots=True)
class _Request:
    arguments: list[str]
    cwd: str
    env: dict[str, str]


class _Server:
    """The other side, in a process without threads."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, socket.socket] = {}
        self._ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> _Request | None:
        """What a fork has to do; None in the server itself, once nobody asks any more."""
        while True:
            ready, _, _ = select.select([self._requests.fileno(), self._ended], [], [])
            if self._ended in ready:
                os.read(self._ended, 4096)
                self._reap()
            if self._requests.fileno() in ready:
                asked, files = _receive(self._requests)
                if not asked:
                    self._kill()
                    return None
                pid = os.fork()
                if pid == 0:
                    request = _Request(**json.loads(asked))
                    _become(request, files)
                    return request
                self._running[pid] = socket.socket(fileno=files.pop())
                for number in files:
                    os.close(number)
                self._requests.send(str(pid).encode())

    def _reap(self) -> None:
        for pid in [*self._running]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                with suppress(OSError):  # the test is over
                    self._running[pid].send(str(os.waitstatus_to_exitcode(status)).encode())
                self._running.pop(pid).close()

    def _kill(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)


def _receive(requests: socket.socket) -> tuple[bytes, list[int]]:
    received = array.array("i")
    asked, ancillary, _, _ = requests.recvmsg(_LONGEST, socket.CMSG_SPACE(4 * received.itemsize))
    for _, _, data in ancillary:
        received.frombytes(data)
    return asked, list(received)


def _become(request: _Request, files: Sequence[int]) -> None:
    """Be as new: with its files and no others, its directory, its environment, and no handlers."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, number in enumerate(files[:-1]):
        os.dup2(number, place)
    os.closerange(3, 4096)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)
    time.tzset()


def main() -> None:
    """Be the server, or a command that it started."""
    for module in (*_IMPORTED, *sys.argv[1:]):
        import_module(module)
    gc.freeze()
    request = _Server(socket.socket(fileno=os.dup(0))).serve()
    if request is not None:
        sys.argv[1:] = request.arguments
        runpy.run_module(PACKAGE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
