"""The accounts of a spool: nothing is missing from them at any instant."""

from __future__ import annotations

import errno
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_tracking import sending
from mlflow_monitoring_tracking.backends.contract import Pair, Rejected, RunState, Unavailable, Upload
from mlflow_monitoring_tracking.backends.custom import CustomBackend
from mlflow_monitoring_tracking.backlog import backlogs, ends, lacks_end, waiting
from mlflow_monitoring_tracking.ledger import contents, spool_contents
from mlflow_monitoring_tracking.sending.adoption import adopt
from mlflow_monitoring_tracking.sending.delivery import RunDelivery
from mlflow_monitoring_tracking.sending.holding import HeldRuns
from mlflow_monitoring_tracking.sending.requeueing import RunBusyError, requeue
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.sending.trimming import trim
from mlflow_monitoring_tracking.settings import Delivery
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directories, run_directory
from mlflow_monitoring_tracking.spool.locks import acquire
from mlflow_monitoring_tracking.spool.records import (
    FORMAT,
    Ended,
    Lost,
    Opened,
    Params,
    Point,
    Points,
    Record,
    Tags,
    encode,
)
from mlflow_monitoring_tracking.spool.segments import SegmentWriter
from mlflow_monitoring_tracking.tracker import ExperimentTracker
from tests.tracking.commands import until


class Picky:
    """Refuses keys that begin with ``bad``, and is away for this share of its calls."""

    name = "picky"
    max_points = 7

    def __init__(self, away: float = 0.0) -> None:
        self._away = away
        self._random = random.Random(7)
        self.got: list[Point] = []

    def check(self) -> str:
        return "is here"

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        self._call()
        state.run_id = "its-id"

    def resume(self, run: Opened, state: RunState) -> None:
        self._call()

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        self._call()
        if any(point.key.startswith("bad") for point in points):
            raise Rejected("a bad key")
        self.got += points

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        self._call()

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        self._call()

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        self._call()

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        self._call()

    def close(self) -> None:
        pass

    def _call(self) -> None:
        if self._random.random() < self._away:
            raise Unavailable("away")


def opened(pid: int = 1, *, owner: bool = True) -> Opened:
    return Opened(FORMAT, "k", "e", "n", 1000, owner, "host", pid)


def named(letter: str) -> str:
    return f"{'f' if letter == 'z' else '0'}{ord(letter):011x}-host-1-{letter}"


def write(directory: RunDirectory, writer: str, *records: Record, begin: Opened | None = None) -> None:
    """What a process leaves that died. Writers sort by name: ``a`` began before ``b``, ``z`` after this test."""
    segment = SegmentWriter(directory, named(writer), encode(begin or opened()), segment_bytes=2000)
    for record in records:
        segment.append(encode(record))
    segment.close()


def points(count: int, key: str = "loss") -> list[Record]:
    return [Points((Point(key, float(step), step, 1000 + step),)) for step in range(count)]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return run_directory(tmp_path, "k")


def test_whatever_happens_to_delivery_the_account_is_whole(directory: RunDirectory, tmp_path: Path) -> None:
    mixed = [*points(40), Lost(5, 1, "the disk was full"), *points(3, "bad"), Params({"a": "1"}), *points(20, "acc")]
    write(directory, "a", *mixed)
    write(directory, "b", *points(10, "bad"), *points(10), begin=opened(2, owner=False))
    picky, seen = Picky(away=0.08), set()
    for _ in range(200):
        one = contents(directory, ["picky"])
        share = one.shares["picky"]
        done = share.counts.delivered_points + share.counts.set_aside_points
        assert done + share.waiting + one.lost == one.logged == 88
        assert waiting(directory, "picky").points == share.waiting
        seen.add(share.waiting)
        try:
            # Each is a process of its own, which knows what is in the files; it is killed after any call.
            if RunDelivery(directory, picky, Delivery()).step():
                break
        except Unavailable:
            continue
    assert len(seen) > 3
    [total] = spool_contents(tmp_path).totals.values()
    assert (total.delivered, total.set_aside, total.waiting, total.lost, total.unaccounted) == (70, 13, 0, 5, 0)
    assert total.runs_left == 1  # it has no end
    assert {point.key for point in picky.got} == {"loss", "acc"}
    [backlog] = backlogs(tmp_path, ["picky"]).values()
    assert (backlog.delivered_points, backlog.set_aside, backlog.bytes) == (70, 13, 0)


class Closed(Picky):
    """Takes no run, until it is opened."""

    closed = True

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        if self.closed:
            raise Rejected("the experiment was deleted")
        super().start(run, parent, state)


def sent(spool: Path, backend: Picky) -> None:
    """A sender that deletes what every back end has."""
    sender = Sender(spool, {backend.name: backend}, Delivery(adopt_after=0), keep=0)
    assert sender.run_once()
    sender.stop()


def test_a_run_that_is_rejected_whole_is_set_aside_and_holds_up_no_other(
    directory: RunDirectory, tmp_path: Path
) -> None:
    write(directory, "a", *points(20), Params({"a": "1"}), Ended("FINISHED", 5000))
    closed = Closed()
    sent(tmp_path, closed)
    share = contents(directory).shares["picky"]
    assert (share.counts.set_aside_points, share.counts.set_aside, share.unsent) == (20, 2, 0)
    reasons = {json.loads(line)["reason"] for line in directory.set_aside("picky").read_text().splitlines()}
    assert reasons == {"the run itself was rejected: the experiment was deleted"}
    assert closed.got == []


def test_what_was_set_aside_outlives_its_run_and_can_be_requeued(directory: RunDirectory, tmp_path: Path) -> None:
    write(directory, "a", *points(20), Ended("FINISHED", 5000))
    closed = Closed()
    sent(tmp_path, closed)
    sent(tmp_path, closed)
    assert directory.path.exists()
    assert requeue(directory, "other") == 0
    assert requeue(directory, "picky") == 21
    assert requeue(directory, "picky") == 0
    closed.closed = False
    sent(tmp_path, closed)
    assert [point.step for point in closed.got] == [*range(20)]
    assert not directory.path.exists()


def test_segments_go_as_soon_as_every_back_end_has_them(directory: RunDirectory, tmp_path: Path) -> None:
    write(directory, "a", *points(200), Lost(3, 1, "the disk was full"), *points(200, "acc"))
    write(directory, "b", *points(50), begin=opened(2, owner=False))
    before = len(directory.segments())
    one, other = Picky(), Picky()
    other.name = "other"
    assert RunDelivery(directory, one, Delivery()).step()
    assert trim(directory, {"picky", "other"}) == 0
    assert RunDelivery(directory, other, Delivery()).step(iter([True] * 40 + [False]).__next__) is False
    first = trim(directory, {"picky", "other"})
    assert 0 < first < before - 2
    assert RunDelivery(directory, other, Delivery()).step()
    assert trim(directory, {"picky", "other"}) == before - 2 - first  # the last one of each writer stays
    assert trim(directory, {"picky", "other"}) == 0
    assert [point.step for point in other.got if point.key == "acc"] == [*range(200)]
    [*totals] = spool_contents(tmp_path).totals.values()
    assert [(t.logged, t.delivered, t.waiting, t.lost, t.unaccounted) for t in totals] == [(453, 450, 0, 3, 0)] * 2


def test_a_kill_while_segments_are_removed_counts_none_twice(
    directory: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a", *points(300))
    picky = Picky()
    assert RunDelivery(directory, picky, Delivery()).step()
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            trim(directory, {"picky"})
    left = len(directory.segments())
    assert trim(directory, {"picky"}) == left - 1
    [total] = spool_contents(tmp_path).totals.values()
    assert (total.logged, total.delivered, total.unaccounted) == (300, 300, 0)


def test_nothing_is_removed_of_a_run_of_which_something_was_set_aside_or_that_is_to_be_kept(
    directory: RunDirectory, tmp_path: Path
) -> None:
    write(directory, "a", *points(300), *points(3, "bad"))
    before = len(directory.segments())
    for keep in (0.0, float("inf")):
        sender = Sender(tmp_path, {"picky": Picky()}, Delivery(adopt_after=1e6), keep)
        assert sender.run_once()
        sender.stop()
    assert HeldRuns(1e6, 0.0).hold(directory, frozenset({"picky"}))
    assert len(directory.segments()) == before


def test_a_sender_removes_segments_of_a_run_that_goes_on(directory: RunDirectory, tmp_path: Path) -> None:
    write(directory, "a", *points(300))
    sender = Sender(tmp_path, {"picky": Picky()}, Delivery(adopt_after=1e6), 0.0)
    assert sender.run_once()
    sender.stop()
    assert len(directory.segments()) > 1
    assert HeldRuns(1e6, 0.0).hold(directory, frozenset({"picky"}))
    assert len(directory.segments()) == 1


def test_a_spool_that_cannot_be_read_for_a_while_is_sent_later(
    directory: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(directory, "a", *points(5), Ended("FINISHED", 5000))
    looks = 0

    def closed_at_first(spool: Path) -> Iterator[RunDirectory]:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise PermissionError(errno.EACCES, "Permission denied", str(spool))
        return run_directories(spool)

    monkeypatch.setattr(sending.sender, "run_directories", closed_at_first)
    picky = Picky()
    sender = Sender(tmp_path, {"picky": picky}, Delivery(adopt_after=0, backoff_min=0.01, backoff_max=0.01), keep=1e6)
    sender.start()
    until(lambda: len(picky.got) == 5)
    sender.stop(5.0)
    assert looks >= 3


def test_a_run_that_is_being_sent_is_not_requeued(directory: RunDirectory, tmp_path: Path) -> None:
    write(directory, "a", *points(3), Ended("FINISHED", 5000))
    sent(tmp_path, Closed())
    lock = acquire(directory.lock)
    assert lock is not None
    with pytest.raises(RunBusyError, match="another process sends this run"):
        requeue(directory, "picky")
    lock.release()


def test_what_was_written_later_is_not_asked_for(directory: RunDirectory) -> None:
    write(directory, "a", *points(4), Tags({"t": "1", "u": "2"}))
    there = ends(directory)
    write(directory, "b", *points(9), begin=opened(2, owner=False))
    now, all_of_it = waiting(directory, "x", there), waiting(directory, "x")
    assert (now.points, now.records) == (4, 2)
    assert all_of_it.points == 13


def test_a_damaged_point_that_was_delivered_is_seen_in_the_account(directory: RunDirectory, tmp_path: Path) -> None:
    write(directory, "a", *points(5))
    picky = Picky()
    RunDelivery(directory, picky, Delivery()).step()
    path = directory.segment(directory.segments()[0])
    data = bytearray(path.read_bytes())
    data[-60] ^= 1
    path.write_bytes(data)
    whole = spool_contents(tmp_path)
    assert whole.damaged_bytes > 0
    assert whole.totals["picky"].unaccounted == -1


def test_the_latest_value_is_that_of_the_greatest_step(directory: RunDirectory) -> None:
    write(directory, "a", *points(10))
    late = Points((Point("loss", 77.0, 3, 9999),))
    again = Points((Point("loss", 88.0, 9, 9999),))
    write(directory, "b", late, begin=opened(2, owner=False))
    assert contents(directory).latest["loss"].value == 9.0
    write(directory, "c", again, begin=opened(3, owner=False))
    assert contents(directory).latest["loss"].value == 88.0


def test_a_run_that_goes_on_in_a_process_of_the_same_host_and_number_has_no_end(directory: RunDirectory) -> None:
    # A container that starts again: the host is the pod's name, the process is number 1. Its clock is ahead, too.
    write(directory, "a", *points(2))
    assert adopt(directory, 0.0)
    assert contents(directory).status == "KILLED"
    write(directory, "z", *points(3))
    assert contents(directory).status == "UNKNOWN"
    assert adopt(directory, 0.0)
    assert contents(directory).status == "KILLED"


def test_a_second_segment_of_a_process_is_no_restart(directory: RunDirectory) -> None:
    write(directory, "a", *points(100), Ended("FINISHED", 5), *points(100))
    assert len(directory.segments()) > 2
    assert contents(directory).status == "FINISHED"


def test_a_run_of_dead_processes_lacks_an_end_once_all_else_is_sent(directory: RunDirectory) -> None:
    write(directory, "a", *points(2))
    picky = Picky()
    assert not lacks_end(directory, ["picky"])
    RunDelivery(directory, picky, Delivery()).step()
    assert lacks_end(directory, ["picky"])
    living = SegmentWriter(directory, named("b"), encode(opened()))
    assert not lacks_end(directory, ["picky"])
    living.close()
    adopt(directory, 0.0)
    RunDelivery(directory, picky, Delivery()).step()
    assert not lacks_end(directory, ["picky"])


class Keeps:
    """Has what it was sent."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int | None]] = []

    def log_param(self, key: str, value: object) -> None:
        """Not asked about."""

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        self.points.append((key, value, step))


@pytest.mark.parametrize("when", ["before", "while"])
@pytest.mark.parametrize("keep", [0.0, 1e6])
def test_a_process_that_begins_and_ends_while_its_run_is_called_complete_is_sent(
    when: str, keep: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a rank whose whole life lies between the last look at the files and the mark that all was sent."""
    tracker = ExperimentTracker({"tracking_dir": str(tmp_path), "mode": "offline", "auto_log": {"enabled": False}})
    with tracker.start_run("e", run_key="k") as run:
        run.log_metric("first", 1.0, step=0)
    kept, dumps, target, late = HeldRuns.complete, json.dumps, Keeps(), iter([True])

    def rank() -> None:
        if next(late, False):
            with tracker.start_run("e", run_key="k") as again:
                again.log_metric("late", 2.0, step=0)

    def complete(self: HeldRuns, directory: RunDirectory, *given: Any) -> bool:
        if when == "before":
            rank()
        else:
            monkeypatch.setattr(json, "dumps", in_between)
        return kept(self, directory, *given)

    def in_between(*given: Any, **more: Any) -> str:
        rank()
        return dumps(*given, **more)

    monkeypatch.setattr(HeldRuns, "complete", complete)
    sender = Sender(tracker.settings.spool_dir, {"mine": CustomBackend("mine", target)}, Delivery(adopt_after=0), keep)
    for _ in range(3):
        sender.run_once(time.monotonic() + 30)
    assert [key for key, _, _ in target.points] == ["first", "late"]
