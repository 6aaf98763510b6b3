"""Take up again what a back end permanently rejected, once the reason is gone."""

from __future__ import annotations

from mlflow_monitoring_tracking.sending.progress import Progress, load, save
from mlflow_monitoring_tracking.spool.layout import RunDirectory
from mlflow_monitoring_tracking.spool.locks import acquire


class RunBusyError(Exception):
    """Another process sends the run."""


def has_set_aside(directory: RunDirectory) -> bool:
    """Whether anything of a run was rejected, by whichever back end. Its files are kept until it is requeued."""
    return any((directory.path / "set-aside").glob("*.jsonl"))


def requeue(directory: RunDirectory, back_end: str) -> int:
    """Send the whole run to a back end once more; how many records that it had set aside are among it.

    All of it, because a record alone may depend on what was before it; what the back end has already, it does not
    store twice.

    :raises RunBusyError: another process sends the run.
    :raises OSError: its files cannot be written.
    """
    path = directory.set_aside(back_end)
    lock = acquire(directory.lock)
    if lock is None:
        raise RunBusyError(f"{directory.path}: another process sends this run; stop it first")
    try:
        if not path.exists():
            return 0
        records = path.read_bytes().count(b"\n")
        run = load(directory, back_end).run
        run.notes.pop("gone", None)
        save(directory, back_end, Progress(run=run))
        directory.complete.unlink(missing_ok=True)
        path.unlink()
        return records
    finally:
        lock.release()
