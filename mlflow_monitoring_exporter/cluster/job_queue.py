"""Reading the points of one experiment is one job; any replica takes it, and never two the same (Procrastinate).

::

    poll -> experiments that are behind -> hand_out -> collect, on whichever replica is free
                                             ^            |
                                             +------------+   not finished in time, or its replica died

The lock keeps an experiment from being collected twice at a time, the queueing lock from waiting twice.
Neither is needed for each point to be queued once (state/backlog.py sees to that): they save work.

A job whose replica died is finished as failed, and handed out anew. To retry it, as one would expect, is an
error as soon as a successor waits already (UniqueViolation), and leaves both stuck.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import structlog
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import DeleteJobCondition, Status
from sqlalchemy import Connection, text

from mlflow_monitoring_exporter.core.foreign_text import one_line
from mlflow_monitoring_exporter.schedule.poll_job import COLLECTORS
from mlflow_monitoring_exporter.state.postgresql_engine import ARGUMENTS, SETTINGS
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)

_QUEUE = _TASK = "collect"
#: Seconds until a worker that ended because the database did not answer starts again.
_AGAIN = 1.0
#: Seconds until a task that did not end is cancelled again.
_CANCEL_AGAIN = 0.1

#: Only hands out, through connections of others.
_APP = App(connector=SyncPsycopgConnector())

#: Collects ``(server, experiment, the queues that count)``. Raises nothing.
Collect = Callable[[str, int, QueueSet], None]


def hand_out(server: str, tx: Connection, experiments: Sequence[int], wanted: QueueSet) -> None:
    """Have these experiments of a server collected, as part of the caller's transaction."""
    queued = text("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = ANY(:locks)")
    waiting = set(tx.execute(queued, {"locks": [_lock(experiment) for experiment in experiments]}).scalars())
    for experiment in experiments:
        if (lock := _lock(experiment)) in waiting:
            continue
        driver: Any = tx.connection.driver_connection
        with suppress(AlreadyEnqueued), tx.begin_nested():
            job = _APP.configure_task(_TASK, queue=_QUEUE, lock=lock, queueing_lock=lock, connection=driver)
            job.defer(server=server, experiment=experiment, wanted=int(wanted))


def _lock(experiment: int) -> str:
    return f"{_TASK} {experiment}"


async def _configure(connection: Any) -> None:
    await connection.execute(SETTINGS)
    await connection.commit()


def _forgotten(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A job whose end could not be written down is handed out again, and that the database is away is told already."""
    if not isinstance(context.get("exception"), ConnectorException):
        loop.default_exception_handler(context)


async def end(tasks: Collection[asyncio.Task[Any]], *, every: float) -> None:
    """Cancel these, again ``every`` so many seconds, until each has ended.

    Once is not enough: a cancellation is lost when it comes in the moment in which what the task waits for fails, as
    connections of a replica do that was frozen for longer than its lease (https://github.com/python/cpython/issues/86296).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=every)


class CollectWorkers:
    """Takes jobs, ``at_once`` of them, from :meth:`start` to :meth:`stop`, on a thread with an event loop.

    ``conninfo`` is asked before each connection to the database, whose password may have rotated. A worker
    that was silent for ``lease`` seconds counts as dead.
    """

    def __init__(
        self, conninfo: Callable[[], str], collect: Collect, *, at_once: int, lease: float, readiness: Readiness
    ) -> None:
        self._conninfo = conninfo
        self._collect = collect
        self._at_once = at_once
        self._lease = lease
        self._readiness = readiness
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="collectors", daemon=True)

    def start(self) -> None:
        self._readiness.expect(COLLECTORS, "state database not reached yet")
        self._thread.start()

    def stop(self, within: float) -> bool:
        """Take no more jobs, and wait so many seconds for those under way; whether they ended."""
        self._stopping.set()
        if self._loop is not None and self._stop is not None:
            with suppress(RuntimeError):  # it ended just now
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.is_alive():
            self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._work())
            except Exception as error:  # noqa: BLE001 - whatever it was, others take the jobs until we can again
                self._readiness.bad(COLLECTORS, f"cannot fetch jobs from the state database ({one_line(str(error))})")
            self._stopping.wait(_AGAIN)

    async def _work(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_forgotten)
        if self._stopping.is_set():
            return
        pool: dict[str, Any] = {
            "min_size": 1,
            "max_size": self._at_once + 2,
            "timeout": self._lease,
            "configure": _configure,
        }
        app = App(connector=PsycopgConnector(conninfo=self._conninfo(), kwargs=dict(ARGUMENTS), **pool))

        @app.task(name=_TASK, queue=_QUEUE)
        def collect(server: str, experiment: int, wanted: int) -> None:
            self._collect(server, experiment, QueueSet(wanted))

        async with app.open_async():
            worker = asyncio.create_task(
                app.run_worker_async(
                    queues=[_QUEUE],
                    concurrency=self._at_once,
                    fetch_job_polling_interval=self._lease / 4,
                    update_heartbeat_interval=self._lease / 4,
                    stalled_worker_timeout=self._lease,
                    delete_jobs=DeleteJobCondition.ALWAYS,
                    install_signal_handlers=False,
                )
            )
            self._readiness.good(COLLECTORS)
            others = [asyncio.create_task(self._rescue(app)), asyncio.create_task(self._stop.wait())]
            await asyncio.wait([worker, *others], return_when=asyncio.FIRST_COMPLETED)
            await end(others, every=_CANCEL_AGAIN)
            await end([worker], every=self._lease)  # patiently: it lets jobs end that are under way
            if not worker.cancelled() and (error := worker.exception()) is not None:
                raise error

    async def _rescue(self, app: App) -> None:
        """Hand out again what a dead replica was at."""
        while True:
            await asyncio.sleep(self._lease / 4)
            for job in await app.job_manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=self._lease):
                with suppress(ConnectorException):  # another replica was faster
                    await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
                    again = app.configure_task(_TASK, queue=_QUEUE, lock=job.lock, queueing_lock=job.queueing_lock)
                    with suppress(AlreadyEnqueued):
                        await again.defer_async(**job.task_kwargs)
                    _log.info("requeued a job of a dead replica", experiment=job.task_kwargs["experiment"])
