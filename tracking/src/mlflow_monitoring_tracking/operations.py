"""Operations: who did what, when it began, how it went on and ended. Each is a run of ``operations/<kind>``.

::

    run      params  what was said at the start and the end      tags  operation.kind, operation.user, operation.error
    metrics  progress, duration_seconds, cpu_seconds, peak_memory_bytes, and what the end says

An operation is known by its id, so another process may go on with it, and end it.
"""

from __future__ import annotations

import functools
import getpass
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.process import last_line
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.tracker import ExperimentTracker, tracker

_P = ParamSpec("_P")
_R = TypeVar("_R")
#: Before the kinds of operations, in names of experiments.
EXPERIMENTS = "operations/"
#: The logger of a program that has none of its own; nothing is set up for it.
main_logger = logging.getLogger("tracking.operations")


def log_operation(*, operation: str, user_id: str | None = None, **fields: Any) -> dict[str, Any]:
    """What a structured log should have beside its text, for ``logging``'s ``extra``."""
    return {"operation": operation, "user_id": user_id or user(), **fields}


class OperationLogger:
    """Logs operations. ``log_<kind>_start`` gives the id that the other calls take.

    Fields that are numbers in ``metrics`` become metrics, all others parameters; ``user_id`` is who did it.
    """

    def __init__(self, by: ExperimentTracker = tracker) -> None:
        self._tracker = by
        self._open: dict[str, tuple[Run, float]] = {}
        self._lock = threading.Lock()

    def start(self, kind: str, *, user_id: str | None = None, **fields: Any) -> str:
        """An operation of any kind begins; its id."""
        tags = {"operation.kind": kind, "operation.user": user_id or user()}
        name = next((str(fields[key]) for key in _NAMES if fields.get(key)), kind)
        run = self._tracker.start_run(f"{EXPERIMENTS}{kind}", name, tags)
        run.log_params(fields)
        with self._lock:
            self._open[run.run_key] = (run, time.monotonic())
        return run.run_key

    def progress(self, kind: str, operation_id: str, progress: float, **metrics: Any) -> None:
        """It has come so far: ``progress`` from 0 to 1."""
        run, _ = self._of(kind, operation_id)
        run.log_metrics({"progress": progress, **metrics})

    def complete(
        self, kind: str, operation_id: str, *, metrics: Mapping[str, Any] | None = None, **fields: Any
    ) -> None:
        """It has ended well."""
        self._end(kind, operation_id, "FINISHED", metrics or {}, fields)

    def fail(self, kind: str, operation_id: str, error: object, **fields: Any) -> None:
        """It has failed, for this reason: an exception or text."""
        self._of(kind, operation_id)[0].set_tag("operation.error", _text_of(error))
        self._end(kind, operation_id, "FAILED", {}, fields)

    def _of(self, kind: str, operation_id: str) -> tuple[Run, float | None]:
        """The run; of an operation that another process began without its time."""
        with self._lock:
            if known := self._open.get(operation_id):
                return known
        return self._tracker.start_run(f"{EXPERIMENTS}{kind}", run_key=operation_id), None

    def _end(
        self, kind: str, operation_id: str, status: str, metrics: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> None:
        run, began = self._of(kind, operation_id)
        took = {} if began is None else {"duration_seconds": time.monotonic() - began}
        run.log_params({key: value for key, value in fields.items() if key != "user_id"})
        run.log_metrics({**took, **metrics})
        run.end(status)
        with self._lock:
            self._open.pop(operation_id, None)

    # -- training -------------------------------------------------------------------------------------------------

    def log_training_start(self, **fields: Any) -> str:
        """A training begins: ``model_name``, ``model_type``, ``dataset_version``, ..."""
        return self.start("training", **fields)

    def log_training_progress(self, operation_id: str, progress: float, **metrics: Any) -> None:
        """A training has come so far."""
        self.progress("training", operation_id, progress, **metrics)

    def log_training_complete(self, operation_id: str, **fields: Any) -> None:
        """A training has ended well: ``model_version``, ``metrics``, ..."""
        self.complete("training", operation_id, **fields)

    def log_training_error(self, operation_id: str, error: object, **fields: Any) -> None:
        """A training has failed."""
        self.fail("training", operation_id, error, **fields)

    # -- ingestion ------------------------------------------------------------------------------------------------

    def log_ingestion_start(self, **fields: Any) -> str:
        """An ingestion of data begins: ``source_name``, ``dataset_name``, ..."""
        return self.start("ingestion", **fields)

    def log_ingestion_progress(self, operation_id: str, progress: float, **metrics: Any) -> None:
        """An ingestion has come so far."""
        self.progress("ingestion", operation_id, progress, **metrics)

    def log_ingestion_complete(self, operation_id: str, **fields: Any) -> None:
        """An ingestion has ended well: ``records_count``, ``metrics``, ..."""
        self.complete("ingestion", operation_id, **fields)

    def log_ingestion_error(self, operation_id: str, error: object, **fields: Any) -> None:
        """An ingestion has failed."""
        self.fail("ingestion", operation_id, error, **fields)

    # -- features -------------------------------------------------------------------------------------------------

    def log_feature_extraction_start(self, **fields: Any) -> str:
        """An extraction of features begins: ``feature_set``, ``dataset_version``, ..."""
        return self.start("feature_extraction", **fields)

    def log_feature_extraction_progress(self, operation_id: str, progress: float, **metrics: Any) -> None:
        """An extraction has come so far."""
        self.progress("feature_extraction", operation_id, progress, **metrics)

    def log_feature_extraction_complete(self, operation_id: str, **fields: Any) -> None:
        """An extraction has ended well: ``features_count``, ``metrics``, ..."""
        self.complete("feature_extraction", operation_id, **fields)

    def log_feature_extraction_error(self, operation_id: str, error: object, **fields: Any) -> None:
        """An extraction has failed."""
        self.fail("feature_extraction", operation_id, error, **fields)

    # -- deployment -----------------------------------------------------------------------------------------------

    def log_deployment_start(self, **fields: Any) -> str:
        """A deployment begins: ``model_name``, ``model_version``, ``environment``, ..."""
        return self.start("deployment", **fields)

    def log_deployment_progress(self, operation_id: str, progress: float, **metrics: Any) -> None:
        """A deployment has come so far."""
        self.progress("deployment", operation_id, progress, **metrics)

    def log_deployment_complete(self, operation_id: str, **fields: Any) -> None:
        """A deployment has ended well."""
        self.complete("deployment", operation_id, **fields)

    def log_deployment_error(self, operation_id: str, error: object, **fields: Any) -> None:
        """A deployment has failed."""
        self.fail("deployment", operation_id, error, **fields)

    # -- access ---------------------------------------------------------------------------------------------------

    def log_data_access(self, *, user_id: str | None = None, **fields: Any) -> str:
        """An access to data: ``dataset_name``, ``purpose``, ... Over as soon as it is logged."""
        operation_id = self.start("data_access", user_id=user_id, **fields)
        self.complete("data_access", operation_id)
        return operation_id


#: Fields that name an operation, the first that is there.
_NAMES = ("name", "model_name", "dataset_name", "feature_set", "source_name", "function")

operation_logger = OperationLogger()


def operation(kind: str, **fields: Any) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A decorator: each call of the function is an operation of this kind, and fails when the function does."""

    def decorated(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            operation_id = operation_logger.start(kind, function=function.__qualname__, **fields)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                operation_logger.fail(kind, operation_id, error)
                raise
            operation_logger.complete(kind, operation_id)
            return result

        return called

    return decorated


def user() -> str:
    """The user that runs the program."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        event("value_skipped", logging.DEBUG, reason="the user has no name")
        return str(os.getuid())


def _text_of(error: object) -> str:
    return last_line(error) if isinstance(error, BaseException) else str(error)
