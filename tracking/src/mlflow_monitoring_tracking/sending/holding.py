"""Which runs this process sends: their locks, the end of those whose process died, and when nothing is left of one."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.sending.adoption import adopt
from mlflow_monitoring_tracking.sending.progress import load
from mlflow_monitoring_tracking.sending.requeueing import has_set_aside
from mlflow_monitoring_tracking.sending.totals import Totals, change_totals
from mlflow_monitoring_tracking.sending.trimming import trim
from mlflow_monitoring_tracking.spool.layout import RunDirectory, SegmentName
from mlflow_monitoring_tracking.spool.locks import HeldLock, acquire
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError, living_writers

#: Seconds between two looks whether the processes of a run still live, and whether a run that ended goes on.
_ADOPT_EVERY = 5.0
_ENDED_EVERY = 60.0


#: Bytes of each segment of a run.
Written = dict[SegmentName, int]


class HeldRuns:
    """The runs whose sender lock this process holds. Safe for threads."""

    def __init__(self, adopt_after: float, keep: float) -> None:
        self._adopt_after = adopt_after
        self._keep = keep
        self._mutex = threading.Lock()
        self._locks: dict[Path, HeldLock] = {}
        self._next_look: dict[Path, float] = {}
        self._complete: dict[Path, dict[str, Written]] = {}

    def hold(self, directory: RunDirectory, back_ends: frozenset[str]) -> bool:
        """Whether this process sends the run, and something of it may be left to send."""
        with self._mutex:
            path = directory.path
            try:
                if path not in self._locks:
                    if self._nothing_left(directory, back_ends) or (lock := acquire(directory.lock)) is None:
                        return False
                    self._locks[path] = lock
                now = time.monotonic()
                if now >= self._next_look.get(path, 0.0):
                    self._next_look[path] = now + _ADOPT_EVERY
                    if self._keep <= 0:
                        trim(directory, back_ends)
                    if adopt(directory, self._adopt_after):
                        self._next_look[path] = now + _ENDED_EVERY
            except (OSError, SpoolFormatError) as error:
                event("sync_delayed", logging.ERROR, run_id=directory.label, reason=error)
            return path in self._locks

    def complete(self, directory: RunDirectory, back_end: str, back_ends: frozenset[str], had: Written) -> bool:
        """One back end has all of a run that ended: all that it ``had`` before it was read.

        Lets go of the run once each has all of what there is, and no process writes to it. A process may begin, write
        and end at any instant; so what it had is looked at again, also after the run was called complete, which a
        process that begins later takes back itself.
        """
        with self._mutex:
            have = self._complete.setdefault(directory.path, {})
            have[back_end] = had
            if not back_ends <= have.keys() or directory.path not in self._locks:
                return False
            with suppress(OSError):
                if not _is_all(directory, have.values()):
                    return False
                directory.complete.write_text(json.dumps(sorted(have)), "utf-8")
                if not _is_all(directory, have.values()):
                    directory.complete.unlink(missing_ok=True)
                    return False
                if self._keep <= 0:
                    _remove(directory, have)
            self._let_go(directory.path)
            return True

    def release(self) -> None:
        """Let go of all runs."""
        with self._mutex:
            for path in list(self._locks):
                self._let_go(path)

    def forget(self) -> None:
        """In a forked child: let go of the parent's locks, which stay the parent's."""
        self._mutex = threading.Lock()
        for lock in self._locks.values():
            lock.forget()
        self._locks.clear()

    def _let_go(self, path: Path) -> None:
        self._complete.pop(path, None)
        self._next_look.pop(path, None)
        if (lock := self._locks.pop(path, None)) is not None:
            lock.release()

    def _nothing_left(self, directory: RunDirectory, back_ends: frozenset[str]) -> bool:
        try:
            have = set(json.loads(directory.complete.read_bytes()))
            done = directory.complete.stat()
        except (OSError, ValueError, TypeError):
            return False
        if not back_ends <= have:
            return False
        if time.time() - done.st_mtime > self._keep:
            _remove(directory, have)
        return True


def written(directory: RunDirectory) -> Written:
    """What there is of a run now.

    :raises OSError: it cannot be read.
    """
    return {name: directory.segment(name).stat().st_size for name in directory.segments()}


def _is_all(directory: RunDirectory, had: Iterable[Written]) -> bool:
    """Whether that is all there is, and no process writes."""
    if living_writers(directory):
        return False
    now = written(directory)
    return all(one == now for one in had)


def _remove(directory: RunDirectory, back_ends: Iterable[str]) -> None:
    """Delete the files of a run, unless something of it was rejected, which may be requeued. What is counted stays."""
    if has_set_aside(directory):
        return
    progress = {name: load(directory, name) for name in back_ends}

    def count(totals: Totals) -> None:
        if not directory.segments():
            return  # another process was faster
        totals.runs += 1
        totals.lost_points += max((one.counts.lost_points for one in progress.values()), default=0)
        for name, one in progress.items():
            totals.of(name).add(one)
        shutil.rmtree(directory.path, ignore_errors=True)

    change_totals(directory.path.parent, count)
