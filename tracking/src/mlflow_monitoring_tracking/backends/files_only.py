"""A back end that takes files, and nothing else of a run: the rest stays in the spool."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_monitoring_tracking.backends.contract import Pair, RunState
from mlflow_monitoring_tracking.spool.records import Opened, Point


class FilesOnly:
    """What a ``Backend`` has besides ``name``, ``check`` and ``upload``: nothing has to be made or closed."""

    max_points = 10_000

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        state.run_id = run.run_key

    def resume(self, run: Opened, state: RunState) -> None: ...

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None: ...

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None: ...

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None: ...

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None: ...

    def close(self) -> None: ...
