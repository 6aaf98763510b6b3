from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from mlflow_monitoring_exporter.schedule.timer import PollTimer


class Polls:
    """Counts polls, and how many ran at once; each takes ``seconds``."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.starts: list[float] = []
        self.running = self.most = self.skipped = 0
        self.changed = threading.Condition()

    def __call__(self) -> None:
        with self.changed:
            self.starts.append(time.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
            self.changed.notify_all()
        time.sleep(self.seconds)
        with self.changed:
            self.running -= 1

    def skip(self) -> None:
        with self.changed:
            self.skipped += 1
            self.changed.notify_all()

    def wait_for(self, polls: int, skipped: int = 0, within: float = 90.0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.starts) >= polls and self.skipped >= skipped, within)


@contextmanager
def ticking(polls: Polls, interval: float, jitter: float = 0.0) -> Iterator[PollTimer]:
    timer = PollTimer(polls, interval=interval, jitter=jitter, on_skipped=polls.skip)
    timer.start()
    try:
        yield timer
    finally:
        timer.stop(within=5)


def test_the_first_poll_starts_at_once_and_others_follow_at_the_interval() -> None:
    polls = Polls()
    started = time.monotonic()
    with ticking(polls, interval=0.2):
        polls.wait_for(1)
        assert polls.starts[0] - started < 0.15
        polls.wait_for(4)
    # Starts are planned from each other: 3 intervals, whatever each poll took.
    assert polls.starts[3] - polls.starts[0] == pytest.approx(0.6, abs=0.15)


def test_polls_never_overlap_and_the_missed_starts_are_told() -> None:
    polls = Polls(seconds=0.25)
    with ticking(polls, interval=0.1):
        polls.wait_for(3, skipped=2)
    assert polls.most == 1


def test_a_clock_that_was_set_back_does_not_stop_the_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    polls = Polls()
    real = time.time
    with ticking(polls, interval=3600) as timer:
        polls.wait_for(1)
        time.sleep(0.1)  # a poll that is still running would swallow the next
        assert not timer.check_clock()
        monkeypatch.setattr(time, "time", lambda: real() - 7200)
        assert timer.check_clock(), "it noticed"
        polls.wait_for(2)
        assert not timer.check_clock(), "and acts once"


def test_a_poll_that_was_planned_by_a_clock_that_is_no_longer_right_is_planned_anew() -> None:
    polls = Polls()
    with ticking(polls, interval=3600) as timer:
        polls.wait_for(1)
        time.sleep(0.1)  # a poll that is still running would swallow the next
        assert not timer.check_clock()
        timer._job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=5))
        assert timer.check_clock()
        polls.wait_for(2)


def test_stopping_waits_for_a_poll_that_runs_but_not_for_ever() -> None:
    polls = Polls(seconds=0.3)
    with ticking(polls, interval=3600) as timer:
        polls.wait_for(1)
        assert not timer.stop(within=0.05)
    assert polls.most == 1


def test_jitter_moves_the_starts() -> None:
    polls = Polls()
    with ticking(polls, interval=0.2, jitter=0.1):
        polls.wait_for(6)
    gaps = [later - earlier for earlier, later in zip(polls.starts, polls.starts[1:], strict=False)]
    assert all(gap < 0.2 + 0.1 + 0.15 for gap in gaps)
    assert max(gaps) - min(gaps) > 0.005
