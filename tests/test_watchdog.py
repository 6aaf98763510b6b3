"""What takes too long is ended, once, and nothing that is over."""

from __future__ import annotations

import threading

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.http.watchdog import Watchdog


def test_a_block_that_takes_too_long_is_ended_and_one_that_is_over_is_not() -> None:
    watchdog = Watchdog()
    late, early, over = threading.Event(), threading.Event(), threading.Event()
    with watchdog.watching(Deadline.after(0.2), over.set):
        pass
    with watchdog.watching(Deadline.after(60), late.set), watchdog.watching(Deadline.after(0.2), early.set):
        assert early.wait(30), "a nearer deadline than the one that the thread sleeps for"
    assert not late.is_set()
    assert not over.is_set()


def test_all_that_are_due_are_ended_by_one_thread() -> None:
    watchdog = Watchdog()
    ended = [threading.Event() for _ in range(20)]
    before = threading.active_count()
    blocks = [watchdog.watching(Deadline.after(0.1), event.set) for event in ended]
    for block in blocks:
        block.__enter__()
    assert threading.active_count() == before + 1
    assert all(event.wait(30) for event in ended)
    for block in blocks:
        block.__exit__(None, None, None)
