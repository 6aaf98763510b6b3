"""Who is alive, and who may send: ``flock`` where the file system has it, else a file that is touched.

A lock that the kernel holds ends with its process, whatever kills it. Some network file systems know no locks;
there a file whose time is older than a minute belongs to a process that is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which a file that nobody touches belongs to a dead process, where locks do not work.
LEASE = 60.0
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class HeldLock:
    """A lock file that this process holds. Forked children must call ``forget``."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def touch(self) -> None:
        """Say that this process lives, to those who cannot see the lock."""
        with suppress(OSError):  # a file system that is read-only now; the lock itself still holds
            os.utime(self._descriptor)

    def moved(self, path: Path) -> None:
        """The file has another name now."""
        self._path = path

    def release(self, *, remove: bool = False) -> None:
        """Let it go. ``remove`` takes the file away, too."""
        if remove:
            self._path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Close the descriptor: in a forked child that leaves the parent's lock alone."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def acquire(path: Path) -> HeldLock | None:
    """Hold ``path``, or None if another process does.

    :raises OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _locked_by_other(descriptor, path, fresh_means_held=os.fstat(descriptor).st_size > 0):
            os.close(descriptor)
            return None
        os.pwrite(descriptor, f"{os.getpid():<20}\n".encode(), 0)
        os.utime(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return HeldLock(path, descriptor)


def acquire_new(path: Path) -> HeldLock:
    """Hold a file that does not exist yet; whoever sees it sees it locked.

    :raises OSError: the file cannot be made.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    held = acquire(hidden)
    if held is None:  # pragma: no cover - a file of this very process
        raise FileExistsError(errno.EEXIST, "locked by another process", str(hidden))
    hidden.rename(path)
    held.moved(path)
    return held


def is_held(path: Path) -> bool:
    """Whether a living process holds ``path``. False for a file that does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return _locked_by_other(descriptor, path, fresh_means_held=True)
    finally:
        os.close(descriptor)


def _locked_by_other(descriptor: int, path: Path, *, fresh_means_held: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return fresh_means_held and time.time() - path.stat().st_mtime < LEASE
    return False


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for this file.

    :raises OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: two at one instant may lose what one of them did
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
