"""What becomes of the tasks of a replica that is to stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from mlflow_monitoring_exporter.cluster.job_queue import end


def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    """As one does whose connection breaks in that moment; for a minute nobody would poll what this replica owned."""

    async def losing() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
        await asyncio.sleep(600)

    async def cancelled() -> bool:
        task = asyncio.create_task(losing())
        await asyncio.sleep(0)
        await asyncio.wait_for(end([task], every=0.01), timeout=60)
        return task.cancelled()

    assert asyncio.run(cancelled())


def test_tasks_that_ended_already_are_no_trouble() -> None:
    async def ended() -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        await end([task], every=0.01)
        await end([], every=0.01)

    asyncio.run(ended())
