"""MLflow's own client, as a tool for writing should meet it: fast to give up, silent, and plain in its errors.

Left alone it waits four minutes for a server that is not there, and two for a file that cannot be
opened; it makes its tables in whatever SQLite database it is given, and migrates an old store
unasked; it prints what it does; and it knows credentials only from the environment.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.core.errors import (
    SourceError,
    SourceRefusedError,
    SourceResponseError,
    SourceUnavailableError,
)
from mlflow_monitoring_exporter.core.foreign_text import excerpt
from mlflow_monitoring_exporter.http import display_url
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.store_file import StoreFile

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

#: Seconds for one try of the first, cheap question; three tries of it make a silent server known in time.
_PROBE = 4.0
_NOISY = ("mlflow", "alembic", "urllib3")
#: MLflow's words for "not here", some of which come with a 5xx status.
_NOT_OFFERED = ("NOT_IMPLEMENTED", "FEATURE_DISABLED")
#: ... and for a run or an experiment that is deleted.
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")


@contextmanager
def connected(config: MlflowConfig, *, retries: int = 2, timeout: int = 15) -> Iterator[MlflowClient]:
    """MLflow's client for the server or store of ``config``; a missing store is made, with its directory.

    ``retries`` and ``timeout`` (in seconds) hold for one request, unless mlflow's own variables
    are set. While the block lasts, mlflow's environment variables are those of ``config``, and its
    loggers are silent; use one at a time. Raises SourceUnavailableError within some 15 s when the
    server does not answer, SourceRefusedError when it never will, and translates like :func:`translated`.
    """
    revision = None
    if _is_file(config):
        revision = _store_revision(config)
    else:
        _ask(config)
    with _environment(_variables(config, retries, timeout)), _silence():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow import MlflowClient
        if revision is not None:
            _refuse_other_schema(config, revision)
        with translated(config):
            yield MlflowClient(_address(config), _address(config))


@contextmanager
def translated(config: MlflowConfig) -> Iterator[None]:
    """What mlflow raises in the block leaves it as one line that says what happened.

    SourceUnavailableError and SourceRefusedError are about the server, SourceResponseError is
    about one run or experiment that was deleted meanwhile.
    """
    from mlflow.exceptions import MlflowException

    server = _address(config)
    try:
        yield
    except MlflowException as error:
        raise _explained(error, server) from None
    except SQLAlchemyError as error:
        raise SourceUnavailableError(f"{server} cannot be written now: {_first_line(error)}") from None


def _explained(error: MlflowException, server: str) -> SourceError:
    status, code = error.get_http_status_code(), error.error_code
    reason: BaseException | None = error
    while reason is not None and not isinstance(reason, RequestException):
        reason = reason.__cause__ or reason.__context__
    if reason is not None:
        return SourceUnavailableError(f"{server} does not answer any more ({type(reason).__name__})")
    if status in (401, 403):
        return SourceRefusedError(
            f"{server} does not permit this user to write (HTTP {status}): check mlflow.username or mlflow.token, "
            "and the user's permissions"
        )
    said = _first_line(error)
    if code in _GONE:
        return SourceResponseError(f"{server} refused it: {said}")
    if code not in _NOT_OFFERED and (status == 429 or status >= 500):
        return SourceUnavailableError(f"{server} does not take it now: {said}")
    return SourceRefusedError(f"{server} refused it: {said}")


def _first_line(error: Exception) -> str:
    """SQLAlchemy adds the statement and its values in further lines."""
    return excerpt(str(error).partition("\n")[0])


def _address(config: MlflowConfig) -> str:
    """The tracking URI without user and password, which mlflow gets apart and people not at all."""
    return config.tracking_uri if _is_file(config) else display_url(config.tracking_uri)


def _is_file(config: MlflowConfig) -> bool:
    return config.tracking_uri.startswith("sqlite:")


def _ask(config: MlflowConfig) -> None:
    """A real search by our own reader, whose errors say what to do."""
    source = RestSource(config.model_copy(update={"timeout": min(config.timeout, _PROBE)}), stop=threading.Event())
    try:
        source.check()
    except SourceUnavailableError as error:
        raise SourceUnavailableError(f"{error}; start the server, or set mlflow.tracking_uri to another") from None
    finally:
        source.close()


def _store_revision(config: MlflowConfig) -> str | None:
    """The schema of an existing store; None when there is none yet and it can be made."""
    store = StoreFile(config.tracking_uri, busy_timeout=min(config.timeout, _PROBE))
    try:
        store.path.parent.mkdir(parents=True, exist_ok=True)
        for path in (store.path.parent, store.path):
            if path.exists() and not os.access(path, os.W_OK):
                raise SourceRefusedError(f"{path} cannot be written: its permissions forbid it")
        if not store.path.exists() or (store.path.is_file() and not store.path.stat().st_size):
            return None
        with store.reading() as (_, schema):
            return schema.revision
    except OSError as error:
        raise SourceRefusedError(f"{store.path} cannot be created: {error.strerror}") from None
    finally:
        store.close()


def _refuse_other_schema(config: MlflowConfig, revision: str) -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision
    from mlflow.version import VERSION

    ours = _get_latest_schema_revision()
    if revision != ours:
        raise SourceRefusedError(
            f"{config.tracking_uri} has MLflow's schema {revision}, and mlflow {VERSION} here writes {ours}: "
            "set mlflow.tracking_uri to another file, or back it up and run mlflow db upgrade on it"
        )


def _variables(config: MlflowConfig, retries: int, timeout: int) -> Mapping[str, str | None]:
    """The environment that mlflow shall see; None means that a variable must not be set."""
    patience = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.5",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    ours: dict[str, str | None] = {name: os.environ.get(name, value) for name, value in patience.items()}
    ours["MLFLOW_CONFIGURE_LOGGING"] = "false"
    ours["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    ours["MLFLOW_WORKSPACE"] = config.workspace
    if _is_file(config):
        return {**ours, "MLFLOW_ENABLE_WORKSPACES": "true" if config.workspace else None}
    parts = urlsplit(config.tracking_uri)
    username, password, token = config.username, config.secret("password").get(), config.secret("token").get()
    if username is None and token is None and parts.username is not None:
        username, password = unquote(parts.username), unquote(parts.password or "")
    ours["MLFLOW_TRACKING_USERNAME"], ours["MLFLOW_TRACKING_PASSWORD"] = username, password
    ours["MLFLOW_TRACKING_TOKEN"] = token
    ours["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(config.ca_file) if config.ca_file else None
    if config.client_key_file:
        raise SourceRefusedError(
            "mlflow, which writes the sample, takes certificate and key in one file only: "
            "put both into mlflow.client_cert_file, and leave out mlflow.client_key_file"
        )
    ours["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = str(config.client_cert_file) if config.client_cert_file else None
    if config.ca_file:
        ours["MLFLOW_TRACKING_INSECURE_TLS"] = None  # mlflow refuses both together
    return ours


@contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _silence() -> Iterator[None]:
    """Errors are raised, and progress has a callback: there is nothing that mlflow need log."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
