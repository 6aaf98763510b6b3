"""The real programs that tests run against: find one, start it on a free port, wait, stop it."""

from __future__ import annotations

import contextlib
import ctypes.util
import fcntl
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import requests
import urllib3


def need(program: str) -> str:
    """The path of an installed program. Without it the test is skipped, and failed where CI is set."""
    path = shutil.which(program)
    if path is not None:
        return path
    return _lack(f"{program} is not installed")


def need_library(name: str) -> None:
    """As ``need``, of a library that is loaded while a program runs, as ``pango-1.0``."""
    if ctypes.util.find_library(name) is None:
        _lack(f"the library {name} is not installed")


def _lack(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


#: Of every session of tests, and open to other users, too: tests/tracking has a folder of its own.
TEMPORARY = tempfile.gettempdir()
#: Below the ports that Linux hands to outgoing connections: none of those takes one between its choice and its use.
_PORTS = range(20_000, 32_000)
_reservations: list[int] = []


def free_port() -> int:
    """A TCP port on 127.0.0.1 that this process has to itself until it ends.

    To bind port 0 and let go of it would offer the same port to the test process beside this one, and a program
    that is started twice on one port answers for both.
    """
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        reservation = os.open(f"{TEMPORARY}/exporter-tests-{os.getuid()}-port-{port}", os.O_CREAT)
        with contextlib.suppress(OSError), socket.socket() as listener:
            fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
            listener.bind(("127.0.0.1", port))
            _reservations.append(reservation)  # the kernel gives it back when this process ends
            return port
        os.close(reservation)
    pytest.fail(f"no port of {_PORTS} is free")


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    ready_url: str,
    ready_within: float = 90.0,
    certificate: tuple[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` until the block ends. It counts as ready once ``ready_url`` answers anything but 5xx.

    ``certificate`` are the files of certificate and key that it wants to see.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, ready_url, log, ready_within, certificate)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _wait_until_ready(
    process: subprocess.Popen[bytes], url: str, log: Path, within: float, certificate: tuple[str, str] | None
) -> None:
    end = time.monotonic() + within
    while time.monotonic() < end and process.poll() is None:
        try:
            # Whether a program is ready does not depend on whether its certificate is to be trusted.
            with warnings.catch_warnings(category=urllib3.exceptions.InsecureRequestWarning, action="ignore"):
                answer = requests.get(url, timeout=2, verify=False, cert=certificate)
                if answer.status_code < 500 and process.poll() is None:
                    return  # alive, so it was not somebody else on its port who answered
        except requests.RequestException:
            pass
        time.sleep(0.05)
    tail = log.read_text(errors="replace")[-2000:]
    pytest.fail(f"{process.args!r} was not ready within {within} s (exit code {process.poll()}):\n{tail}")
