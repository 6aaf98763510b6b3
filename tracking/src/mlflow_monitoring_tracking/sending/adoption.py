"""End the runs of processes that died without a word."""

from __future__ import annotations

import os
import secrets
import time

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.sending.totals import Totals, change_totals
from mlflow_monitoring_tracking.spool.layout import RunDirectory
from mlflow_monitoring_tracking.spool.reader import living_writers, read_run
from mlflow_monitoring_tracking.spool.records import FORMAT, Ended, Opened, Points, encode
from mlflow_monitoring_tracking.spool.segments import SegmentWriter


def new_writer(now_ms: int) -> str:
    """The name of a writer: those that began earlier sort first."""
    host = "".join(c if c.isalnum() else "-" for c in os.uname().nodename)[:40]
    return f"{now_ms:012x}-{host}-{os.getpid()}-{secrets.token_hex(3)}"


def adopt(directory: RunDirectory, quiet_for: float) -> bool:
    """End the run as KILLED if nobody writes to it any more and it has no end; whether it has one now.

    ``quiet_for`` are the seconds for which nothing may have been written. To be called by whoever holds the run's
    sender lock.

    :raises OSError: the spool cannot be read or written.
    """
    segments = directory.segments()
    if not segments or living_writers(directory):
        return False
    written = max(directory.segment(name).stat().st_mtime for name in segments)
    if time.time() - written < quiet_for:
        return False
    run: Opened | None = None
    ended, last_ms = False, 0
    owner: str | None = None
    for read in read_run(directory, {}):
        if isinstance(read.record, Opened):
            if read.record.owner and read.writer != owner:
                # Another process goes on. Its host and pid may be those of the first: a container that starts again.
                ended, owner = False, read.writer
            run = read.record if run is None or read.record.owner else run
        elif isinstance(read.record, Ended):
            ended = True
        elif isinstance(read.record, Points):
            last_ms = max(last_ms, read.record.points[-1].time_ms)
    if ended or run is None:
        return ended
    now_ms = time.time_ns() // 1_000_000
    begin = Opened(FORMAT, run.run_key, run.experiment, run.run_name, run.start_ms, False, run.host, os.getpid())
    # The end comes last also where this machine's clock is behind that of the process.
    after_all = max(now_ms, _began_ms(segments[-1].writer) + 1)
    writer = SegmentWriter(directory, new_writer(after_all), encode(begin))
    try:
        writer.append(encode(Ended("KILLED", max(last_ms, int(written * 1000)))))
    finally:
        writer.close(ended=True)
    change_totals(directory.path.parent, _count_adopted)
    event("run_adopted", run_id=run.run_key, experiment_id=run.experiment, host=run.host, pid=run.pid)
    return True


def _began_ms(writer: str) -> int:
    try:
        return int(writer.partition("-")[0], 16)
    except ValueError:  # a name that another program gave
        return 0


def _count_adopted(totals: Totals) -> None:
    totals.adopted += 1
