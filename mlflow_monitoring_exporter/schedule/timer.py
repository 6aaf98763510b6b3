"""When does the next poll start?

Every interval, plus or minus the jitter, and never while one is running: starts that a long poll misses are skipped.
APScheduler uses the wall clock, so setting it back by an hour would stop polling for an hour;
:meth:`PollTimer.check_clock` notices.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

#: Seconds by which the wall clock and the monotonic clock may drift apart between two checks.
_DRIFT = 1.0


class _DaemonThreadExecutor(BaseExecutor):  # type: ignore[misc] # APScheduler 3 has no types
    """Runs each job on a daemon thread, which does not keep a stopping process alive."""

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        def run() -> None:
            # run_job logs what a job raises; ours raises nothing.
            self._run_job_success(job.id, run_job(job, job._jobstore_alias, run_times, self._logger.name))  # noqa: SLF001

        threading.Thread(target=run, name="poll", daemon=True).start()


class PollTimer:
    """Calls ``poll`` immediately and then every ``interval`` seconds, plus or minus up to ``jitter`` seconds."""

    def __init__(
        self, poll: Callable[[], None], *, interval: float, jitter: float, on_skipped: Callable[[], None]
    ) -> None:
        self._poll = poll
        self._longest = interval + jitter
        self._idle = threading.Event()
        self._idle.set()
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": _DaemonThreadExecutor()})
        self._job = self._scheduler.add_job(
            self._run,
            IntervalTrigger(seconds=interval, jitter=jitter or None, timezone=UTC),
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.add_listener(lambda _event: on_skipped(), EVENT_JOB_MAX_INSTANCES)
        self._offset = time.time() - time.monotonic()

    def start(self) -> None:
        self._scheduler.start()

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set since the last call; whether it was. Call it about once a second.

        A scheduler that reads the clock just before it is set and plans just after may put the next poll hours ahead;
        the next call notices that, too.
        """
        offset = time.time() - time.monotonic()
        moved = abs(offset - self._offset) > _DRIFT
        self._offset = offset
        planned = self._job.next_run_time
        if planned is not None and (planned - datetime.now(UTC)).total_seconds() > self._longest + _DRIFT:
            moved = True
        if moved:
            self._job.modify(next_run_time=datetime.now(UTC))
        return moved

    def stop(self, within: float) -> bool:
        """Start no more polls, and wait ``within`` seconds for a running one; whether it ended."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        return self._idle.wait(within)

    def _run(self) -> None:
        self._idle.clear()
        try:
            self._poll()
        finally:
            self._idle.set()
