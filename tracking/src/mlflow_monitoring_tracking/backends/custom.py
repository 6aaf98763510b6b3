"""A back end of the user's own: an object with ``log_param`` and ``log_metric``, and whatever else it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlflow_monitoring_tracking.backends.contract import BackendError, Pair, Rejected, RunState, Unavailable, Upload
from mlflow_monitoring_tracking.spool.records import Opened, Point

#: Calls with one record that raise before it is set aside. What raises an OSError (a connection that fails, a
#: time limit) is tried for ever.
_ATTEMPTS = 3


class CustomBackend:
    """Calls ``log_param(key, value)``, ``log_metric(key, value, step)`` and, where the object has them, ``set_tag(key,
    value)`` or ``set_tags(dict)``, ``log_artifact(path, artifact_path)``, ``start_run(experiment, name, key)`` and
    ``end_run(status)``. What it lacks is skipped, and counted in ``skipped``.
    """

    max_points = 1  # a call that raises in the middle of several would leave open which it took

    def __init__(self, name: str, target: Any) -> None:
        self.name = name
        self.target = target
        self.skipped = 0
        self._failed: tuple[object, int] = (None, 0)

    def check(self) -> str:
        """It is the user's; nothing is called."""
        return f"a {type(self.target).__qualname__}"

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        """Tell it that a run begins."""
        self._optional(run.run_key, "start_run", run.experiment, run.run_name, run.run_key)
        state.run_id = run.run_key

    def resume(self, run: Opened, state: RunState) -> None:
        """Nothing that it would know of."""

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        """One call for the point."""
        for point in points:
            self._call(point, self.target.log_metric, point.key, point.value, point.step)

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        """One call for each parameter; several are asked for one by one."""
        if len(params) > 1:
            raise Rejected("one at a time")
        for param in params:
            self._call(param, self.target.log_param, param.key, param.value)

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        """One call for all of them, or for each."""
        if callable(getattr(self.target, "set_tags", None)):
            self._call(tags[0], self.target.set_tags, {tag.key: tag.value for tag in tags})
        elif len(tags) > 1:
            raise Rejected("one at a time")
        else:
            self._optional(tags[0], "set_tag", tags[0].key, tags[0].value)

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Hand over the file's path, and where it belongs."""
        self._optional(upload, "log_artifact", str(upload.file), upload.path)

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        """Tell it that the run ended."""
        self._optional(status, "end_run", status)

    def close(self) -> None:
        """It is the user's."""

    def _optional(self, record: object, name: str, *arguments: object) -> None:
        method = getattr(self.target, name, None)
        if callable(method):
            self._call(record, method, *arguments)
        else:
            self.skipped += 1

    def _call(self, record: object, method: Callable[..., object], *arguments: object) -> None:
        try:
            method(*arguments)
        except BackendError:
            raise
        except OSError as error:
            raise Unavailable(f"{self.name}: {type(error).__name__}: {error}") from error
        except Exception as error:  # whatever somebody else's code raises
            last, times = self._failed
            self._failed = (record, times + 1 if last == record else 1)
            text = f"{self.name}: {type(error).__name__}: {error}"
            if self._failed[1] >= _ATTEMPTS:
                raise Rejected(text) from error
            raise Unavailable(text) from error
