"""Files of runs in S3-compatible storage, through fsspec. Everything else of a run stays where it is.

::

    <bucket>/<prefix>/<run key>/<path>            the file; with compression <path>.gz
    <bucket>/<prefix>/<run key>/<path>.sha256     as sha256sum writes it, of the file before compression

The checksum is written behind the file, so where it is the file is whole, and one that is there with the same
checksum is not sent again. Address and credentials are AWS's own variables (``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ...) and files.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_monitoring_tracking.backends.contract import (
    BackendError,
    Rejected,
    RunState,
    Unauthorized,
    Unavailable,
    Upload,
)
from mlflow_monitoring_tracking.backends.files_only import FilesOnly
from mlflow_monitoring_tracking.spool.layout import directory_name
from mlflow_monitoring_tracking.spool.records import Opened

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from mlflow_monitoring_tracking.settings import Storage

#: Seconds for a connection and for one answer.
_CONNECT, _READ = 10, 60
#: Times that a file which changes while it is read is tried.
_ATTEMPTS = 3


class StorageBackend(FilesOnly):
    """Sends files below ``root``. ``connect`` makes the file system, once in each process."""

    name = "storage"

    def __init__(self, connect: Callable[[], AbstractFileSystem], root: str, *, compression: bool = False) -> None:
        self._connect = connect
        self._root = root.strip("/")
        self._compression = compression
        self._files: AbstractFileSystem | None = None
        self._pid = os.getpid()

    def check(self) -> str:
        """List what is there."""
        with self._understood():
            self._filesystem().ls(self._root.partition("/")[0])
        return f"files go to {self._root}"

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Send the file, unless it is there with the same checksum."""
        target = f"{self._root}/{directory_name(run.run_key)}/{upload.path}"
        for _ in range(_ATTEMPTS):
            before = _look(upload.file)
            checksum = _sha256(upload.file)
            if upload.sha256 not in {None, checksum}:
                raise Rejected(f"{upload.file} is not what was logged any more: its checksum is another one")
            with self._understood():
                self._send(upload.file, target, checksum)
            if _look(upload.file) == before:
                return
        raise Rejected(f"{upload.file} changes while it is sent; log it once it is finished")

    def _send(self, file: Path, target: str, checksum: str) -> None:
        files = self._filesystem()
        stored, note = (f"{target}.gz" if self._compression else target), f"{target}.sha256"
        line = f"{checksum}  {target.rpartition('/')[2]}\n".encode()
        if files.exists(note) and files.cat_file(note) == line and files.exists(stored):
            return
        with _compressed(file) if self._compression else _plain(file) as source:
            size = source.stat().st_size
            files.put_file(str(source), stored)
            found = files.info(stored)["size"]
        if found != size:
            raise Unavailable(f"{stored} has {found} of {size} bytes")
        files.pipe_file(note, line)

    def _filesystem(self) -> AbstractFileSystem:
        if self._files is None or self._pid != os.getpid():  # one of a parent process must not be used
            self._files, self._pid = self._connect(), os.getpid()
            self._files.invalidate_cache()
        return self._files

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What failures of any file system mean to a sender."""
        try:
            yield
        except BackendError:
            raise
        except Exception as error:  # each file system has its own, and its client's
            text = f"{self._root}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            # botocore is not imported for the names of two exceptions.
            if isinstance(error, PermissionError) or type(error).__name__.endswith("CredentialsError"):
                raise Unauthorized(text) from error
            raise Unavailable(text) from error


def s3(settings: Storage) -> StorageBackend:
    """A bucket of S3, or of what speaks its protocol.

    :raises ImportError: the extra [storage] is not installed.
    :raises ValueError: no bucket is configured.
    """
    import s3fs

    if not settings.bucket:
        raise ValueError("storage.bucket: the name of a bucket is needed")

    def connect() -> AbstractFileSystem:
        limits = {"connect_timeout": _CONNECT, "read_timeout": _READ, "retries": {"max_attempts": 2}}
        return s3fs.S3FileSystem(config_kwargs=limits, use_listings_cache=False)

    root = f"{settings.bucket.removeprefix('s3://').strip('/')}/{settings.prefix.strip('/')}"
    return StorageBackend(connect, root, compression=settings.compression)


def _look(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise Rejected(f"{file} is not there any more") from error
    return found.st_size, found.st_mtime_ns


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        raise Rejected(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def _plain(file: Path) -> Iterator[Path]:
    yield file


@contextmanager
def _compressed(file: Path) -> Iterator[Path]:
    """A copy beside the system's other temporary files; the same bytes of the same file each time."""
    with tempfile.TemporaryDirectory(prefix="tracking-") as directory:
        path = Path(directory) / "compressed"
        with file.open("rb") as source, path.open("wb") as target, gzip.GzipFile("", "wb", 6, target, 0) as packed:
            shutil.copyfileobj(source, packed, 2**20)
        yield path
