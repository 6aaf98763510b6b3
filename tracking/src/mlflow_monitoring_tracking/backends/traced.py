"""OpenTelemetry spans around what a sender asks of a back end: one for each call, which is one batch of one kind.

Spans go wherever the program's own SDK sends them; without one, or without ``opentelemetry-api``, there are none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow_monitoring_tracking.backends.contract import Backend, Pair, RunState, Upload
from mlflow_monitoring_tracking.settings import Tracing
from mlflow_monitoring_tracking.spool.records import Opened, Point

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


def traced(backend: Backend, settings: Tracing) -> Backend:
    """The back end, with spans around its calls where they are wanted and can be made."""
    if not settings.enabled:
        return backend
    try:
        from opentelemetry import trace
    except ImportError:
        return backend
    return TracedBackend(backend, trace.get_tracer("mlflow_monitoring_tracking"), settings.sample_rate)


class TracedBackend:
    """Does what ``inner`` does. ``sample_rate``, 0 to 1, is the share of calls that get a span."""

    def __init__(self, inner: Backend, tracer: Tracer, sample_rate: float) -> None:
        self.inner = inner
        self._tracer = tracer
        self._sample_rate = sample_rate

    @property
    def name(self) -> str:
        """As of the back end."""
        return self.inner.name

    @property
    def max_points(self) -> int:
        """As of the back end."""
        return self.inner.max_points

    def check(self) -> str:
        """As of the back end."""
        return self.inner.check()

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        """As of the back end, in a span."""
        with self._span("start", run):
            self.inner.start(run, parent, state)

    def resume(self, run: Opened, state: RunState) -> None:
        """As of the back end, in a span."""
        with self._span("resume", run):
            self.inner.resume(run, state)

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        """As of the back end, in a span."""
        with self._span("log_points", run, len(points)):
            self.inner.log_points(run, state, points)

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        """As of the back end, in a span."""
        with self._span("log_params", run, len(params)):
            self.inner.log_params(run, state, params)

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        """As of the back end, in a span."""
        with self._span("set_tags", run, len(tags)):
            self.inner.set_tags(run, state, tags)

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """As of the back end, in a span."""
        with self._span("upload", run):
            self.inner.upload(run, state, upload)

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        """As of the back end, in a span."""
        with self._span("end", run):
            self.inner.end(run, state, status, end_ms)

    def close(self) -> None:
        """As of the back end."""
        self.inner.close()

    @contextmanager
    def _span(self, call: str, run: Opened, records: int = 1) -> Iterator[None]:
        if random.random() >= self._sample_rate:  # noqa: S311 - which calls are looked at is no secret
            yield
            return
        attributes: dict[str, str | int] = {
            "tracking.platform": self.name,
            "tracking.run_key": run.run_key,
            "tracking.experiment": run.experiment,
            "tracking.records": records,
        }
        with self._tracer.start_as_current_span(f"tracking.{call}", attributes=attributes):
            yield
