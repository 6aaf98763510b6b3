"""What is recorded when the disk is full, broken, or read-only: nothing raises, and what is lost is counted exactly."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlflow_monitoring_tracking.spool import recorder as recorder_module
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directory
from mlflow_monitoring_tracking.spool.reader import read_run
from mlflow_monitoring_tracking.spool.recorder import RING, Level, Recorder
from mlflow_monitoring_tracking.spool.records import Ended, Lost, Opened, Params, Point, Points, Record, encode
from mlflow_monitoring_tracking.spool.segments import SegmentWriter


class Disk:
    """The calls that a disk may fail, and how it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None  # bytes; None is any
        self.error: int | None = None
        for name in ("write", "open", "posix_fallocate"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def write(self, descriptor: int, data: bytes) -> int:
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        if self.room is None:
            return _write(descriptor, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = _write(descriptor, data[: self.room])
        self.room -= written
        return written

    def open(self, path: str | Path, flags: int, mode: int = 0o777, **more: int) -> int:
        if self.error and flags & os.O_CREAT:
            raise OSError(self.error, os.strerror(self.error))
        return _open(path, flags, mode, **more)

    def posix_fallocate(self, descriptor: int, offset: int, length: int) -> None:
        if self.room is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _fallocate(descriptor, offset, length)


_write, _open, _fallocate = os.write, os.open, os.posix_fallocate


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(recorder_module, "_RETRY", 0.0)
    return Disk(monkeypatch)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return run_directory(tmp_path, "a run")


def _recorder(directory: RunDirectory, levels: list[Level] | None = None) -> Recorder:
    begin = encode(Opened(1, "a run", "e", None, 1, owner=True, host="h", pid=1))
    made = iter(range(1000))
    told = (lambda level, _why: levels.append(level)) if levels is not None else (lambda *_: None)
    recorder = Recorder(lambda: SegmentWriter(directory, f"{next(made):04}", begin), told)
    recorder.open()
    return recorder


def _log(recorder: Recorder, first: int, last: int, key: str = "loss") -> None:
    for step in range(first, last):
        with recorder.lock:
            recorder.point(key, float(step), step, 1000 + step)


def _records(directory: RunDirectory) -> list[Record]:
    return [read.record for read in read_run(directory, {}) if read.record and not isinstance(read.record, Opened)]


def _points(directory: RunDirectory) -> list[Point]:
    return [point for record in _records(directory) if isinstance(record, Points) for point in record.points]


def _lost(directory: RunDirectory) -> int:
    return sum(record.points for record in _records(directory) if isinstance(record, Lost))


def test_a_full_disk_that_takes_half_a_frame_leaves_no_torn_one(disk: Disk, directory: RunDirectory) -> None:
    recorder = _recorder(directory)
    disk.room = 500
    _log(recorder, 0, 100)
    assert recorder.level is Level.FULL
    disk.room = None
    _log(recorder, 100, 200)
    recorder.record(Ended("FINISHED", 1), last=True)
    recorder.close(ended=True)
    assert all(read.damaged == 0 for read in read_run(directory, {}))
    kept = _points(directory)
    assert {point.step for point in kept} >= set(range(101, 200))
    assert len(kept) + _lost(directory) == 200 == recorder.count.points
    assert _records(directory)[-1] == Ended("FINISHED", 1)


def test_on_a_disk_that_stays_full_the_end_parameters_and_extremes_of_each_key_are_kept(
    disk: Disk, directory: RunDirectory
) -> None:
    recorder = _recorder(directory)
    disk.room = 0
    for key in ("up", "other"):
        _log(recorder, 0, 500, key)
    recorder.record(Params({"lr": "0.1"}))
    recorder.record(Ended("FAILED", 1), last=True)
    recorder.close(ended=True)
    assert {(p.key, p.step) for p in _points(directory)} == {(k, s) for k in ("up", "other") for s in (0, 499)}
    assert _lost(directory) == 1000 - 4
    assert Params({"lr": "0.1"}) in _records(directory)
    assert Ended("FAILED", 1) in _records(directory)


@pytest.mark.parametrize("reason", [errno.EIO, errno.EROFS])
def test_what_a_broken_disk_refuses_waits_in_memory_until_it_is_mended(
    disk: Disk, directory: RunDirectory, reason: int
) -> None:
    levels: list[Level] = []
    recorder = _recorder(directory, levels)
    _log(recorder, 0, 10)
    disk.error = reason
    _log(recorder, 10, 50)
    recorder.record(Params({"late": "1"}))
    assert levels == [Level.UNUSABLE]
    disk.error = None
    _log(recorder, 50, 60)
    recorder.record(Ended("FINISHED", 1), last=True)
    recorder.close(ended=True)
    assert levels == [Level.UNUSABLE, Level.NORMAL]
    assert [point.step for point in _points(directory)] == list(range(60))
    assert Params({"late": "1"}) in _records(directory)
    assert _lost(directory) == recorder.count.lost_points == 0


def test_what_memory_cannot_hold_is_counted(disk: Disk, directory: RunDirectory) -> None:
    recorder = _recorder(directory)
    disk.error = errno.EIO
    _log(recorder, 0, RING + 123)
    disk.error = None
    recorder.record(Ended("FINISHED", 1), last=True)
    recorder.close(ended=True)
    assert len(_points(directory)) + _lost(directory) == RING + 123
    assert _lost(directory) > 0


def test_a_spool_that_cannot_be_made_costs_no_exception(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = _recorder(run_directory(tmp_path / "file", "a run"))
    _log(recorder, 0, 20)
    recorder.record(Ended("FINISHED", 1), last=True)
    recorder.close(ended=True)
    assert recorder.count.points == recorder.count.lost_points == 20
    assert recorder.count.lost_records == 1


def test_near_its_limit_the_spool_takes_only_what_stands_for_many(disk: Disk, directory: RunDirectory) -> None:
    recorder = _recorder(directory)
    recorder.crowd(is_crowded=True)
    _log(recorder, 0, 100)
    recorder.crowd(is_crowded=False)
    _log(recorder, 100, 110)
    recorder.record(Ended("FINISHED", 1), last=True)
    recorder.close(ended=True)
    assert [p.step for p in _points(directory)] == [0, 99, *range(100, 110)]
    assert _lost(directory) == 98
