"""Files of runs in storage: whole, checked, and sent once. tests/s3 does the same with the protocol of S3."""

from __future__ import annotations

import gzip
import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.backends.contract import Rejected, RunState, Unauthorized, Unavailable, Upload
from mlflow_monitoring_tracking.backends.storage import StorageBackend
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened

_RUN = Opened(FORMAT, "a/key", "stored", None, 1, True, "host", 1)


class Counting(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A directory as storage; counts what is sent, and may fail."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)
        self.sent: list[str] = []
        self.failure: Exception | None = None

    def put_file(self, source: str, target: str, **more: Any) -> None:
        self.sent.append(target)
        if self.failure is not None:
            raise self.failure
        super().put_file(source, target, **more)


@pytest.fixture
def storage(tmp_path: Path) -> Counting:
    (tmp_path / "bucket").mkdir()
    return Counting()


def a_file(directory: Path, content: bytes = b"what is in it") -> Upload:
    path = directory / "model.bin"
    path.write_bytes(content)
    return Upload(path, "models/m/model.bin", len(content), hashlib.sha256(content).hexdigest())


def backend(storage: fsspec.AbstractFileSystem, root: object, **more: bool) -> StorageBackend:
    made = StorageBackend(lambda: storage, str(root), **more)
    made._root = str(root)
    return made


def test_a_file_and_its_checksum_are_there(storage: Counting, tmp_path: Path) -> None:
    backend(storage, tmp_path / "bucket").upload(_RUN, RunState(), a_file(tmp_path))
    directory = tmp_path / "bucket" / "a%2Fkey" / "models" / "m"
    assert (directory / "model.bin").read_bytes() == b"what is in it"
    digest = hashlib.sha256(b"what is in it").hexdigest()
    assert (directory / "model.bin.sha256").read_text() == f"{digest}  model.bin\n"


def test_what_is_there_is_not_sent_again_and_what_changed_is(storage: Counting, tmp_path: Path) -> None:
    sending = backend(storage, tmp_path / "bucket")
    for _ in range(2):
        sending.upload(_RUN, RunState(), a_file(tmp_path))
    assert len(storage.sent) == 1
    sending.upload(_RUN, RunState(), a_file(tmp_path, b"other content"))
    assert len(storage.sent) == 2
    assert (tmp_path / "bucket/a%2Fkey/models/m/model.bin").read_bytes() == b"other content"


def test_a_file_that_was_cut_off_is_sent_again(storage: Counting, tmp_path: Path) -> None:
    sending = backend(storage, tmp_path / "bucket")
    storage.failure = ConnectionResetError("cut off")
    with pytest.raises(Unavailable, match="cut off"):
        sending.upload(_RUN, RunState(), a_file(tmp_path))
    target = tmp_path / "bucket/a%2Fkey/models/m/model.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"what")  # a part of it; there is no checksum
    storage.failure = None
    sending.upload(_RUN, RunState(), a_file(tmp_path))
    assert target.read_bytes() == b"what is in it"


def test_compressed_files_are_the_same_each_time(storage: Counting, tmp_path: Path) -> None:
    upload = a_file(tmp_path, b"abc" * 100_000)
    sending = backend(storage, tmp_path / "bucket", compression=True)
    sending.upload(_RUN, RunState(), upload)
    stored = tmp_path / "bucket/a%2Fkey/models/m/model.bin.gz"
    first = stored.read_bytes()
    assert len(first) < 10_000
    assert gzip.decompress(first) == b"abc" * 100_000
    assert stored.with_name("model.bin.sha256").read_text().startswith(upload.sha256 or "")
    sending.upload(_RUN, RunState(), upload)
    assert len(storage.sent) == 1
    stored.unlink()
    sending.upload(_RUN, RunState(), upload)
    assert stored.read_bytes() == first


def test_a_file_that_is_gone_or_damaged_is_set_aside(storage: Counting, tmp_path: Path) -> None:
    sending = backend(storage, tmp_path / "bucket")
    upload = a_file(tmp_path)
    upload.file.write_bytes(b"what is on it")
    with pytest.raises(Rejected, match="checksum"):
        sending.upload(_RUN, RunState(), upload)
    upload.file.unlink()
    with pytest.raises(Rejected, match="not there any more"):
        sending.upload(_RUN, RunState(), upload)
    assert storage.sent == []


def test_a_file_that_changes_while_it_is_sent_is_not_taken_for_whole(storage: Counting, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("line\n")

    class Growing(Counting):
        def put_file(self, source: str, target: str, **more: Any) -> None:
            super().put_file(source, target, **more)
            with path.open("a") as log:
                log.write("line\n")

    growing = Growing()
    with pytest.raises(Rejected, match="changes while it is sent"):
        backend(growing, tmp_path / "bucket").upload(_RUN, RunState(), Upload(path, "log.txt", 5))
    assert len(growing.sent) == 3


@pytest.mark.parametrize(
    ("failure", "meaning"),
    [
        (PermissionError("Access Denied"), Unauthorized),
        (type("NoCredentialsError", (Exception,), {})("no credentials"), Unauthorized),
        (FileNotFoundError("The specified bucket does not exist"), Unavailable),
        (type("EndpointConnectionError", (Exception,), {})("nobody there"), Unavailable),
        (TimeoutError("too slow"), Unavailable),
    ],
)
def test_failures_say_when_to_try_again(
    storage: Counting, tmp_path: Path, failure: Exception, meaning: type[Exception]
) -> None:
    storage.failure = failure
    with pytest.raises(meaning, match=str(failure)):
        backend(storage, tmp_path / "bucket").upload(_RUN, RunState(), a_file(tmp_path))


def test_local_is_off_and_what_is_missing_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "storage" not in backends(load({"storage": {"type": "local"}}, {}))
    with caplog.at_level(logging.WARNING):
        monkeypatch.setitem(sys.modules, "s3fs", None)
        assert "storage" not in backends(load({"storage": {"type": "s3", "bucket": "b"}}, {}))
    assert "pip install 'mlflow-monitoring-tracking[storage]'" in caplog.text
