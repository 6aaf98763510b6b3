"""The real command, as a user starts it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import requests

from tests.parts.forks import OF_SAMPLES, ForkServer, Process
from tests.parts.programs import free_port

_COMMAND = (sys.executable, "-m", "mlflow_monitoring_exporter")
#: Variables that only a new interpreter heeds.
_HEEDED_EARLY = ("PYTHON", "LD_", "LC_", "LANG")
_ROOT = Path(__file__).parents[2]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the developer's own settings, and Python that finds the checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PRAMATHUS", "PROMETHEUS", "EXPORT"))}
    return {**kept, "PYTHONPATH": str(_ROOT), "COLUMNS": "200", **extra}


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    out: str
    err: str


@cache
def _server(*more: str) -> ForkServer:
    return ForkServer(*more)


def _start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    through: Sequence[str],
    anew: bool,
    out: IO[str],
    err: IO[str],
) -> Process:
    """A fork of a process that has imported everything (tests/parts/forks.py); ``anew`` a new interpreter."""
    whole = _environment(env)
    with Path(os.devnull).open() as nothing:
        if not (anew or through or any(name.startswith(_HEEDED_EARLY) for name in env)):
            server = _server(*OF_SAMPLES) if "generate-sample" in arguments else _server()
            return server.start(arguments, cwd=cwd, env=whole, files=(nothing, out, err))
        return subprocess.Popen(
            [*through, *_COMMAND, *arguments], cwd=cwd, env=whole, stdin=nothing, stdout=out, stderr=err, text=True
        )


def run(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120.0, anew: bool = False
) -> Finished:
    """Run one command to its end in ``cwd``."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = _start(arguments, cwd=cwd, env=env or {}, through=(), anew=anew, out=out, err=err)
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            raise
        out.seek(0)
        err.seek(0)
        finished = Finished(code, out.read(), err.read())
    assert "Traceback" not in finished.err, finished.err
    return finished


@dataclass
class Background:
    """A running command."""

    process: Process
    log: Path

    def wait_for(self, question: Callable[[], bool], within: float = 90.0) -> None:
        end = time.monotonic() + within
        while True:
            assert self.process.poll() is None, f"it ended:\n{self.log.read_text()}"
            try:
                if question():
                    return
            except (requests.ConnectionError, FileNotFoundError, KeyError):
                pass  # not listening, not written, or not on the page yet
            assert time.monotonic() < end, f"did not happen within {within} s:\n{self.log.read_text()}"
            time.sleep(0.05)

    def wait_for_log(self, text: str) -> None:
        self.wait_for(lambda: text in self.log.read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM, within: float = 90.0) -> int:
        """The exit code after ``number``."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within)


@dataclass
class Daemon(Background):
    """A running ``continuous``."""

    url: str

    def get(self, page: str) -> requests.Response:
        return requests.get(f"{self.url}/{page}", timeout=10)

    def components(self) -> dict[str, Any]:
        """What /readyz says, by component."""
        components: dict[str, Any] = self.get("readyz").json()["components"]
        return components


def on_a_terminal(*arguments: str, cwd: Path) -> str:
    """What a terminal would have got, without its control sequences."""
    mine, its = pty.openpty()
    process = subprocess.Popen(
        [*_COMMAND, *arguments],
        cwd=cwd,
        env=_environment({"TERM": "xterm", "COLUMNS": "200"}),
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    got = b""
    with suppress(OSError):  # how Linux says that nobody writes any more
        while part := os.read(mine, 65536):
            got += part
    os.close(mine)
    assert process.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", got.decode()).replace("\r", "")


@contextmanager
def background(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    through: Sequence[str] = (),
    anew: bool = False,
) -> Iterator[Background]:
    """A command that goes on until it is told to stop; its output is ``background.log`` in ``cwd``.

    It is started by the command ``through``, where there is one.
    """
    log = cwd / "background.log"
    with log.open("w") as output:
        process = _start(arguments, cwd=cwd, env=env or {}, through=through, anew=anew, out=output, err=output)
    try:
        yield Background(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        assert "Traceback" not in log.read_text(), log.read_text()


@contextmanager
def continuous(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    through: Sequence[str] = (),
    anew: bool = False,
) -> Iterator[Daemon]:
    """A daemon on a free port. It counts as started once it listens."""
    listen = f"127.0.0.1:{free_port()}"
    with background(
        "continuous", "--set", f"web.listen={listen}", *arguments, cwd=cwd, env=env, through=through, anew=anew
    ) as started:
        daemon = Daemon(started.process, started.log, f"http://{listen}")
        daemon.wait_for(lambda: daemon.get("livez").ok)
        yield daemon
