"""The poll loops of this process, one for each tracking server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from mlflow_monitoring_exporter.pipeline.dispatch import HandOut
from mlflow_monitoring_exporter.pipeline.enqueue import Enqueuer
from mlflow_monitoring_exporter.schedule.poll_job import PollJob
from mlflow_monitoring_exporter.schedule.timer import PollTimer


class PollLoop:
    """Polls one tracking server immediately and then every ``interval`` seconds, until :meth:`stop`."""

    def __init__(self, job: PollJob, *, interval: float, jitter: float) -> None:
        self._timer = PollTimer(job, interval=interval, jitter=jitter, on_skipped=job.skipped)

    def start(self) -> None:
        self._timer.start()

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set; whether it was. Call it about once a second."""
        return self._timer.check_clock()

    def stop(self, within: float) -> bool:
        """Start no more polls, and wait ``within`` seconds for a running one; whether it ended."""
        return self._timer.stop(within)


class Roles(Protocol):
    """What this process may do for one tracking server."""

    component: str
    """The server's name in readiness."""

    def poll_loop(self, hand_out: HandOut | None) -> PollLoop:
        """A loop that polls the server; with ``hand_out`` reading points becomes jobs of all replicas."""
        ...

    def enqueuer(self) -> Enqueuer:
        """A reader of the server's points, for one thread at a time."""
        ...

    def released(self) -> None:
        """Another replica owns the server now."""
        ...


class PollLoops:
    """Every loop of a daemon on its own."""

    def __init__(self, loops: Sequence[PollLoop]) -> None:
        self._loops = tuple(loops)

    @property
    def alone(self) -> bool:
        """True: no other replica delivers the backlog."""
        return True

    def start(self) -> None:
        for loop in self._loops:
            loop.start()

    def check_clock(self) -> bool:
        """Check the clock for each loop."""
        moved = [loop.check_clock() for loop in self._loops]
        return any(moved)

    def stop(self, within: float) -> bool:
        """Stop every loop; whether all ended ``within`` seconds."""
        return stop_all(self._loops, within)


def stop_all(loops: Sequence[PollLoop], within: float) -> bool:
    """Stop each loop; whether all ended ``within`` seconds together."""
    until = time.monotonic() + within
    ended = [loop.stop(max(0.0, until - time.monotonic())) for loop in loops]
    return all(ended)
