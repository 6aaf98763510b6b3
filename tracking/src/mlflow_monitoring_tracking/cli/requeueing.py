"""``requeue``: what back ends permanently rejected is sent once more."""

from __future__ import annotations

import argparse

from mlflow_monitoring_tracking.cli.output import complain, plural, say
from mlflow_monitoring_tracking.ledger import back_ends, spool_of
from mlflow_monitoring_tracking.sending.requeueing import RunBusyError, requeue
from mlflow_monitoring_tracking.spool.layout import run_directories, run_directory


def requeue_command(wanted: argparse.Namespace) -> int:
    """Of all runs or of one; exit code 1 if a run was left alone because another process sends it."""
    spool = spool_of(wanted.directory)
    if not spool.is_dir():
        raise FileNotFoundError(f"{wanted.directory} is no directory")
    if wanted.run is not None and not run_directory(spool, wanted.run).path.is_dir():
        raise FileNotFoundError(f"{wanted.directory} has no run {wanted.run}; show lists the runs")
    chosen = run_directories(spool) if wanted.run is None else [run_directory(spool, wanted.run)]
    records = runs = 0
    busy = False
    for directory in chosen:
        taken = 0
        for name in back_ends(directory):
            if wanted.back_end in {None, name}:
                try:
                    taken += requeue(directory, name)
                except RunBusyError as error:
                    complain(f"error: {error}")
                    busy = True
        records, runs = records + taken, runs + bool(taken)
    say(f"{plural(records, 'record')} of {plural(runs, 'run')} requeued" + ("; sync sends them" if records else ""))
    return int(busy)
