"""``sync``: send a spool, now or for as long as the command runs."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.backends.contract import Backend
from mlflow_monitoring_tracking.backlog import Backlog, backlogs, ends, is_complete, lacks_end, waiting
from mlflow_monitoring_tracking.cli.output import Events, ProgressLine, complain, plural, say, size
from mlflow_monitoring_tracking.configuration import ConfigurationError, load
from mlflow_monitoring_tracking.ledger import is_spool, spool_of
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.settings import Settings
from mlflow_monitoring_tracking.spool.layout import run_directories
from mlflow_monitoring_tracking.spool.locks import is_held
from mlflow_monitoring_tracking.spool.places import Place
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError

#: Seconds between two lines of progress: on a terminal, on a pipe.
_TERMINAL_EVERY = 0.5
_PIPE_EVERY = 10.0
#: How often a command that waits looks whether it is over, in seconds.
_LOOK = 0.1
#: Seconds beyond ``delivery.adopt_after`` in which runs of dead processes are ended: senders look every 5 s.
_ADOPTION_SLACK = 11.0
#: Seconds that what is on its way to a back end has when the command is to end.
_LAST_BATCH = 5.0

#: How far the files of each writer went at some time, by run.
_Ends = Mapping[Path, Mapping[str, Place]]


class _Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM."""


def sync(wanted: argparse.Namespace) -> int:
    """Send a spool; exit code 1 if something of it could not be sent, was set aside or is damaged."""
    settings = load(wanted.config)
    if not wanted.watch and not wanted.directory.is_dir():
        raise FileNotFoundError(f"{wanted.directory} is no directory")
    made = _backends(settings)
    line = ProgressLine(sys.stdout)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    if wanted.watch:
        _wait_for(wanted.directory, line)
    spool = spool_of(wanted.directory)
    log = logging.getLogger("mlflow_monitoring_tracking")
    log.addHandler(Events(line))
    log.propagate = False
    return _Sync(spool, made, settings, line).run(watch=wanted.watch)


class _Sync:
    """One call of the command. To be used by the main thread, which hears of signals."""

    def __init__(self, spool: Path, made: Mapping[str, Backend], settings: Settings, line: ProgressLine) -> None:
        self._spool = spool
        self._names = tuple(made)
        keep = float("inf") if settings.local.enabled else 0.0
        self._sender = Sender(spool, made, settings.delivery, keep)
        self._adopt_after = settings.delivery.adopt_after
        self._line = line
        self._told = 0.0
        self._tell_every = _TERMINAL_EVERY if line.is_terminal else _PIPE_EVERY

    def run(self, *, watch: bool) -> int:
        """Send, then say what is left."""
        until, before = self._ends(), backlogs(self._spool, self._names)
        self._tell(before)
        try:
            if watch:
                self._sender.start()
                self._wait(float("inf"))
            else:
                self._send()
        except _Interrupted:
            until = self._ends() if watch else until
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends already, within seconds
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self._sender.stop(_LAST_BATCH)
            self._line.clear()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        left = _left(self._spool, self._names, until)
        after = backlogs(self._spool, self._names)
        left.set_aside = sum(after[name].set_aside - before[name].set_aside for name in after)
        left.damaged_bytes = max(after[name].damaged_bytes - before[name].damaged_bytes for name in after)
        say(_summary(left))
        return int(left.anything)

    def _send(self) -> None:
        """Everything that can be sent now, and the ends of dead processes' runs, as soon as those count as dead."""
        end = time.monotonic() + self._adopt_after + _ADOPTION_SLACK
        while True:
            thread = threading.Thread(target=self._sender.run_once, daemon=True)
            thread.start()
            while thread.is_alive():
                self._wait(_LOOK)
            if time.monotonic() >= end or not self._waits_for_ends():
                return
            self._wait(1.0)

    def _wait(self, seconds: float) -> None:
        """Wait, and tell now and then how far it is."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if now >= self._told + self._tell_every:
                self._tell(backlogs(self._spool, self._names))
                # A look at thousands of runs takes a while, and is not what this command is for.
                self._tell_every = max(self._tell_every, 10 * (self._told - now))
            time.sleep(min(_LOOK, max(0.0, end - time.monotonic())))

    def _tell(self, left: Mapping[str, Backlog]) -> None:
        """``mlflow: 12000 points delivered, 3.4 MB to go``."""
        self._line.show(
            "; ".join(
                f"{name}: {plural(backlog.delivered_points, 'point')} delivered, {size(backlog.bytes)} to go"
                for name, backlog in left.items()
            )
        )
        self._told = time.monotonic()

    def _waits_for_ends(self) -> bool:
        for directory in run_directories(self._spool):
            with suppress(OSError, SpoolFormatError):
                if not is_complete(directory, self._names) and lacks_end(directory, self._names):
                    return True
        return False

    def _ends(self) -> dict[Path, dict[str, Place]]:
        return {directory.path: ends(directory) for directory in run_directories(self._spool)}


@dataclass(slots=True)
class _Left:
    """What is not sent; of two back ends, the one counts that has less. ``elsewhere`` are runs that others send.

    ``set_aside`` and ``damaged_bytes`` are what this call of the command met.
    """

    runs: int = 0
    points: int = 0
    records: int = 0
    elsewhere: int = 0
    set_aside: int = 0
    damaged_bytes: int = 0

    @property
    def anything(self) -> bool:
        """Whether something is not where it should be."""
        return any((self.points, self.records, self.set_aside, self.damaged_bytes))


def _left(spool: Path, names: Iterable[str], until: _Ends) -> _Left:
    """What was there at ``until`` and is not sent, and runs whose processes died that have no end."""
    left = _Left()
    for directory in run_directories(spool):
        left.runs += bool(directory.segments())
        if is_complete(directory, names):
            continue
        try:
            shares = [waiting(directory, name, until.get(directory.path, {})) for name in names]
            left.records += lacks_end(directory, names)
        except (OSError, SpoolFormatError) as error:
            complain(f"error: {directory.path}: {error}")
            left.records += 1
            continue
        left.points += max(share.points for share in shares)
        left.records += max(share.records for share in shares)
        left.elsewhere += any(shares) and is_held(directory.lock)
    return left


def _summary(left: _Left) -> str:
    parts = [plural(left.runs, "run"), f"{plural(left.points, 'point')} not sent"]
    if left.records:
        parts.append(f"{plural(left.records, 'other record')} not sent")
    if left.set_aside:
        parts.append(f"{plural(left.set_aside, 'record')} set aside")
    if left.damaged_bytes:
        parts.append(f"{plural(left.damaged_bytes, 'damaged byte')} passed over")
    if left.elsewhere:
        parts.append(f"{plural(left.elsewhere, 'run is', 'runs are')} sent by another process")
    return ", ".join(parts)


def _backends(settings: Settings) -> dict[str, Backend]:
    missing: list[str] = []
    made = backends(settings, lambda name, reason: missing.append(f"{name}: {reason}"))
    if missing:
        raise ConfigurationError(missing)
    if set(made) <= {"local"}:
        raise ConfigurationError(
            ["no back end is configured; set MLFLOW_TRACKING_URI, or mlflow.tracking_uri in a file"]
        )
    return made


def _wait_for(directory: Path, line: ProgressLine) -> None:
    """A sidecar may start before the program that makes the spool; what is no spool yet may become a tracking_dir."""
    is_told = False
    while not is_spool(directory):
        if not is_told:
            line.show(f"waiting for a spool in {directory}")
            is_told = True
        time.sleep(_LOOK)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _Interrupted
