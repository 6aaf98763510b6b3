"""Jobs (Procrastinate): each reads the points of one experiment, on any replica, and never on two at a time.

::

    poll -> experiments that are behind -> hand_out -> collect, on any free replica
                                             ^            |
                                             +------------+   not finished in time, or its replica died

The lock keeps an experiment from being collected twice at a time, the queueing lock from waiting twice. They only save
work: state/backlog.py makes sure that each point is queued once.

A job whose replica died is finished as failed and deferred anew. Retrying it would fail with UniqueViolation when a
successor waits already, and leave both stuck.
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

from mlflow_monitoring_exporter.core.errors import describe
from mlflow_monitoring_exporter.schedule.poll_job import COLLECTORS
from mlflow_monitoring_exporter.state.postgresql_engine import ARGUMENTS, SETTINGS
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.telemetry.readiness import Readiness

_log = structlog.get_logger(__name__)

_QUEUE = _TASK = "collect"
#: Seconds until a worker that lost the database starts again.
_AGAIN = 1.0
#: Seconds until a task that has not ended is cancelled again.
_CANCEL_AGAIN = 0.1

#: Only defers jobs, through the caller's connection.
_APP = App(connector=SyncPsycopgConnector())

#: Collects ``(server, experiment, the queues that count)``. Raises nothing.
Collect = Callable[[str, int, QueueSet], None]


def hand_out(server: str, tx: Connection, experiments: Sequence[int], wanted: QueueSet) -> None:
    """Defer a job for each of these experiments of a server, as part of the caller's transaction."""
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
    """Ignore that the database is away: readiness says so, and a job whose end is not recorded is deferred again."""
    if not isinstance(context.get("exception"), ConnectorException):
        loop.default_exception_handler(context)


async def end(tasks: Collection[asyncio.Task[Any]], *, every: float) -> None:
    """Cancel these tasks, again ``every`` so many seconds, until each has ended.

    Once is not enough: a cancellation is lost when what the task awaits fails at that moment
    (https://github.com/python/cpython/issues/86296), as connections do after a replica was frozen for a lease.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=every)


class CollectWorkers:
    """Runs up to ``at_once`` jobs at a time, from :meth:`start` to :meth:`stop`, on a thread with an event loop.

    ``conninfo`` is called for each new connection, because the password may have rotated. A worker without a heartbeat
    for ``lease`` seconds counts as dead.
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
        """Take no more jobs, and wait ``within`` seconds for the running ones; whether they ended."""
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
            except Exception as error:  # noqa: BLE001 - other replicas take the jobs meanwhile
                self._readiness.bad(COLLECTORS, f"cannot fetch jobs from the state database ({describe(error)})")
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
            await end([worker], every=self._lease)  # seldom, so that running jobs can end
            if not worker.cancelled() and (error := worker.exception()) is not None:
                raise error

    async def _rescue(self, app: App) -> None:
        """Defer again the jobs of dead replicas."""
        while True:
            await asyncio.sleep(self._lease / 4)
            for job in await app.job_manager.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=self._lease):
                with suppress(ConnectorException):  # another replica did it
                    await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
                    again = app.configure_task(_TASK, queue=_QUEUE, lock=job.lock, queueing_lock=job.queueing_lock)
                    with suppress(AlreadyEnqueued):
                        await again.defer_async(**job.task_kwargs)
                    _log.info("requeued a job of a dead replica", experiment=job.task_kwargs["experiment"])
