"""Files of runs in a bucket: the client is s3fs, the server moto's. ``make test-s3``, in an environment of its own.

s3fs needs python-dateutil below 3, which is not what the daemon's environment has.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import fsspec
import pytest
import s3fs

from mlflow_monitoring_tracking import ExperimentTracker
from mlflow_monitoring_tracking.backends.available import backends
from mlflow_monitoring_tracking.backends.contract import RunState, Unavailable, Upload
from mlflow_monitoring_tracking.configuration import load
from mlflow_monitoring_tracking.sending.sender import Sender
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.records import FORMAT, Opened

_RUN = Opened(FORMAT, "a/key", "stored", None, 1, True, "host", 1)


def a_file(directory: Path) -> Upload:
    path = directory / "model.bin"
    path.write_bytes(b"what is in it")
    return Upload(path, "models/m/model.bin", path.stat().st_size)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    command = [f"{sys.prefix}/moto/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while True:
            assert process.poll() is None
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    files.mkdir("artifacts")
    yield files
    files.rm("artifacts", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


def test_files_of_a_run_go_to_a_bucket(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    config = {"tracking_dir": str(tmp_path), "mode": "offline", "auto_log": {"enabled": False}}
    (tmp_path / "data").mkdir()
    large = bytes(range(256)) * 2**17  # 32 MiB
    (tmp_path / "data" / "large.bin").write_bytes(large)
    (tmp_path / "data" / "empty ä.txt").write_bytes(b"")
    with ExperimentTracker(config).start_run("e") as run:
        run.log_metric("loss", 1.0)
        run.log_artifact(tmp_path / "data")
    settings = load(
        {"tracking_dir": str(tmp_path), "storage": {"type": "s3", "bucket": "artifacts", "prefix": "team/x"}}, {}
    )
    assert "files go to artifacts/team/x" in backends(settings)["storage"].check()
    for _ in range(2):
        sender = Sender(settings.spool_dir, backends(settings), settings.delivery)
        assert sender.run_once()
        sender.stop()
        sent = {path: bucket.info(path)["LastModified"] for path in bucket.find("artifacts")}
        root = f"artifacts/team/x/{run.run_key}/data"
        assert set(sent) == {
            f"{root}/{name}{ending}" for name in ("large.bin", "empty ä.txt") for ending in ("", ".sha256")
        }
        assert bucket.cat_file(f"{root}/large.bin") == large
        directory = run_directory(settings.spool_dir, run.run_key)
        directory.sent("storage").unlink()
        directory.complete.unlink()


def test_a_bucket_that_is_not_there_is_waited_for(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    settings = load({"storage": {"type": "s3", "bucket": "missing"}}, {})
    with pytest.raises(Unavailable, match="missing"):
        backends(settings)["storage"].upload(_RUN, RunState(), a_file(tmp_path))


def test_a_server_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    s3fs.S3FileSystem.clear_instance_cache()
    settings = load({"storage": {"type": "s3", "bucket": "b"}}, {})
    with pytest.raises(Unavailable) as caught:
        backends(settings)["storage"].upload(_RUN, RunState(), a_file(tmp_path))
    assert "hidden" not in str(caught.value)


def test_a_bucket_has_to_be_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert "storage" not in backends(load({"storage": {"type": "s3"}}, {}))
    assert "storage.bucket" in caplog.text
