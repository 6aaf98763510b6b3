from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mlflow_monitoring_exporter.deadline import Deadline
from mlflow_monitoring_exporter.errors import ConfigError, ExportError, RetryableExportError
from mlflow_monitoring_exporter.exporters.file import FileConfig, FileExporter
from mlflow_monitoring_exporter.exporters.record import to_record
from mlflow_monitoring_exporter.model import Batch
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


def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    made = open_file(path)
    write(made, batch(1))
    real = os.write
    calls: list[int] = []

    def full(handle: int, data: memoryview) -> int:
        if calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        calls.append(handle)
        return real(handle, data[:50])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RetryableExportError, match=r"metrics\.jsonl cannot be written: No space left on device"):
        write(made, batch(3))
    monkeypatch.undo()
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
    assert str(caught.value).startswith(f"{tmp_path / place}: cannot write this file: ")


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    made = FileExporter(FileConfig(type="file", path=tmp_path / "new" / "metrics.jsonl"))
    made.check()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExportError, match="it is a directory"):
        FileExporter(FileConfig(type="file", path=tmp_path)).check()
    with pytest.raises(ExportError, match="cannot be written"):
        FileExporter(FileConfig(type="file", path=Path("/dev/null/metrics.jsonl"))).check()
