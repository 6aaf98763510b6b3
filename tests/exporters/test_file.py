from __future__ import annotations

import errno
import json
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import ConfigError, ExportError, RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch
from mlflow_monitoring_exporter.exporters.builtin.file import FileConfig, FileExporter
from mlflow_monitoring_exporter.exporters.record import to_record
from tests.exporters.samples import batch


def open_file(path: Path, **config: object) -> FileExporter:
    made = FileExporter(FileConfig.model_validate({"type": "file", "path": str(path), **config}))
    made.start()
    return made


def write(made: FileExporter, payload: Batch) -> None:
    made.export(payload, deadline=Deadline.after(5))


def lines(path: Path) -> list[Any]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel writes no file beyond ``size`` bytes: what fits is written, the rest is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_batch_is_one_line_per_sample_and_batches_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "made" / "as needed" / "metrics.jsonl"
    made = open_file(path)
    write(made, batch(3))
    write(made, batch(2, key="ключ"))
    assert lines(path) == [to_record(sample) for b in (batch(3), batch(2, key="ключ")) for sample in b.samples]
    assert path.stat().st_mode & 0o007 == 0, "not for everybody"


def test_what_a_kill_left_of_a_line_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(open_file(path), batch(2))
    whole = path.read_bytes()
    for torn in (b"{", b'{"name": "lo', b"x" * 200_000):
        path.write_bytes(whole + torn)
        write(open_file(path), batch(1))
        assert lines(path) == [to_record(sample) for sample in (*batch(2).samples, *batch(1).samples)]
    path.write_bytes(b"only a torn line")
    open_file(path)
    assert path.read_bytes() == b""


def test_a_torn_line_that_could_not_be_taken_back_at_once_is_taken_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    made = open_file(path)
    write(made, batch(1))

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "ftruncate", broken)
    with file_size_limit(path.stat().st_size + 50), pytest.raises(RetryableExportError):
        write(made, batch(3))
    monkeypatch.undo()
    assert not path.read_bytes().endswith(b"\n")
    write(made, batch(3))
    assert lines(path) == [to_record(sample) for sample in (*batch(1).samples, *batch(3).samples)]


def test_it_rotates_before_a_batch_that_would_be_too_much(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    size = len(b"".join(json.dumps(to_record(s)).encode() for s in batch(3).samples))
    made = open_file(path, max_size=size * 2, keep=2)
    for number in range(8):
        write(made, batch(3, key=f"key{number}"))
    names = {p.name: {record["name"] for record in lines(p)} for p in tmp_path.iterdir()}
    assert names == {
        "metrics.jsonl": {"key6", "key7"},
        "metrics.jsonl.1": {"key4", "key5"},
        "metrics.jsonl.2": {"key2", "key3"},
    }


def test_a_batch_larger_than_the_limit_is_written_all_the_same(tmp_path: Path) -> None:
    made = open_file(tmp_path / "metrics.jsonl", max_size=10, keep=0)
    for _ in range(2):
        write(made, batch(5))
    assert len(lines(tmp_path / "metrics.jsonl")) == 5
    assert len(list(tmp_path.iterdir())) == 1, "keep: 0 keeps none"


def test_another_program_may_rotate_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    made = open_file(path)
    write(made, batch(1))
    path.rename(tmp_path / "moved")
    write(made, batch(2))
    assert (len(lines(tmp_path / "moved")), len(lines(path))) == (1, 2)


def test_what_does_not_fit_leaves_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    made = open_file(path)
    write(made, batch(1))
    limit = path.stat().st_size + 50
    with (
        file_size_limit(limit),
        pytest.raises(RetryableExportError, match=r"metrics\.jsonl cannot be written: File too large"),
    ):
        write(made, batch(3))
    assert len(lines(path)) == 1
    write(made, batch(3))
    assert len(lines(path)) == 4


def test_a_batch_is_synced_before_it_counts_as_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    made = open_file(path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    write(made, batch(3))
    assert synced == [path.stat().st_size]


@pytest.mark.parametrize("place", [".", "/proc/nothing/metrics.jsonl", "/dev/null/metrics.jsonl"])
def test_a_path_that_cannot_work_is_a_configuration_problem(tmp_path: Path, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_file(tmp_path / place)
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / place)
    assert problem.message.startswith("cannot write this file: ")


def test_a_pipe_is_refused_instead_of_waiting_for_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="it is not a regular file"):
        open_file(tmp_path / "pipe")
    with pytest.raises(ExportError, match="it is not a regular file"):
        FileExporter(FileConfig(type="file", path=tmp_path / "pipe")).check()


def test_a_name_is_durable_as_soon_as_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    real = os.fsync

    def note(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    path = tmp_path / "metrics.jsonl"
    made = open_file(path, max_size=1)
    write(made, batch(1))
    synced.clear()
    write(made, batch(1))
    assert synced == [tmp_path, tmp_path, path], "rotated, created, written"


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    made = FileExporter(FileConfig(type="file", path=tmp_path / "new" / "metrics.jsonl"))
    made.check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/tmp", "it is a directory"),
        ("/dev/null", "it is not a regular file"),
        ("/dev/null/metrics.jsonl", "/dev/null is not a directory"),
        (f"/tmp/{'x' * 300}/metrics.jsonl", "File name too long"),
    ],
)
def test_a_check_says_what_stands_in_the_way(place: str, reason: str) -> None:
    with pytest.raises(ExportError) as caught:
        FileExporter(FileConfig(type="file", path=Path(place))).check()
    assert str(caught.value) == f"{place} cannot be written: {reason}"


def test_replicas_may_write_to_one_file(tmp_path: Path) -> None:
    """Each of them rotates it, and none loses what another one wrote."""
    path = tmp_path / "metrics.jsonl"
    exporters = [open_file(path, max_size=3000, keep=200) for _ in range(3)]
    batches = [batch(5, key=str(number)) for number in range(60)]

    def send(exporter: FileExporter, part: list[Batch]) -> None:
        for each in part:
            write(exporter, each)

    threads = [threading.Thread(target=send, args=(e, batches[at::3])) for at, e in enumerate(exporters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(line["name"], line["metadata"]["step"]) for file in tmp_path.iterdir() for line in lines(file)]
    assert len(list(tmp_path.iterdir())) > 3
    assert len(found) == len(set(found)) == 300
