"""Executions of data pipelines: one run for each, in the experiment ``pipelines/<name>``.

::

    run        params  source, expected_records        tags  pipeline.name, pipeline.failed_stage, tracking.failure
    metrics    stage/<stage>/{records,errors,duration_seconds,records_per_second}, at the stage's place as step
               records, expected_records, quality/<dimension>, duration_seconds

An execution whose block raises is FAILED, with the exception's last line; one whose process dies is ended as KILLED by
the sender of its spool.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.process import last_line
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.tracker import ExperimentTracker, Started, tracker

#: Before the names of pipelines, in those of experiments: the daemon knows them by it.
EXPERIMENTS = "pipelines/"


class Pipeline:
    """One execution. Get one from ``start_data_pipeline``; safe for threads.

    Stages are in the order in which they are logged first.
    """

    def __init__(self, run: Run, name: str, expected_records: int | None) -> None:
        self.run = run
        self.name = name
        self._expected = expected_records
        self._began = time.monotonic()
        self._order: dict[str, int] = {}
        self._last_records: float | None = None
        self._lock = threading.Lock()
        self._completed = False

    def log_stage(self, stage: str, n: int, errors: int = 0, duration_seconds: float | None = None) -> None:
        """A stage is done: how many records came out of it, how many were refused, and how long it took."""
        place = self._place(stage)
        values: dict[str, Any] = {"records": n, "errors": errors}
        if duration_seconds is not None:
            values["duration_seconds"] = duration_seconds
            if isinstance(n, (int, float)) and duration_seconds > 0:
                values["records_per_second"] = n / duration_seconds
        self.run.log_metrics({f"stage/{stage}/{what}": value for what, value in values.items()}, step=place)
        if isinstance(n, (int, float)):
            self._last_records = n

    @contextmanager
    def stage(self, stage: str) -> Iterator[Stage]:
        """A stage as a block, which is timed: ``with p.stage("clean") as s: s.records = len(rows)``."""
        self._place(stage)
        running = Stage()
        began = time.monotonic()
        try:
            yield running
        except BaseException:
            whole = self._last_records
            self.run.set_tag("pipeline.failed_stage", stage)
            self.log_stage(stage, running.records, running.errors, time.monotonic() - began)
            self._last_records = whole  # what came out of a stage that failed came out of nothing
            raise
        self.log_stage(stage, running.records, running.errors, time.monotonic() - began)

    def log_data_quality(self, dimensions: Mapping[str, Any]) -> None:
        """Results of checks by dimension (completeness, accuracy, ...), each a share or any other number.

        A whole result of pandera's, Great Expectations', or anything that is a nested dict of numbers, is taken over
        with its numbers under their paths.
        """
        self.run.log_metrics({f"quality/{key}": value for key, value in _numbers(dimensions)})

    def complete_pipeline(self, n: int, success: bool = True) -> None:  # noqa: FBT001, FBT002 - a promised name
        """The execution is over, with so many records; without ``success`` it is FAILED. Only the first call counts."""
        with self._lock:
            if self._completed:
                event(
                    "value_skipped", logging.WARNING, run_id=self.run.run_key, reason="the pipeline is complete already"
                )
                return
            self._completed = True
        self._totals(n)
        self.run.end("FINISHED" if success else "FAILED")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._completed:
            return
        if error is None:
            self.complete_pipeline(int(self._last_records or 0))
            return
        self._completed = True
        self._totals(self._last_records)
        self.run.set_tags({"pipeline.error": last_line(error)})
        self.run.__exit__(kind, error, where)

    def _totals(self, records: float | None) -> None:
        totals: dict[str, Any] = {"duration_seconds": time.monotonic() - self._began, "records": records}
        if self._expected is not None:
            totals["expected_records"] = self._expected
        self.run.log_metrics(totals)

    def _place(self, stage: str) -> int:
        with self._lock:
            return self._order.setdefault(stage, len(self._order) + 1)


class Stage:
    """What a stage says of itself at its end."""

    def __init__(self) -> None:
        self.records = 0
        self.errors = 0


class StartedPipeline(Started[Pipeline]):
    """An execution for ``with``, as a decorator or, begun by the first call, as it is."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._started is None:
            self._started = self._start()
        return getattr(self._started, name)


class DataPipelineTracker:
    """Starts executions as a configuration says, or with a tracker that is there.

    :param config: the path of a file, a dict, or None for what the environment says.
    """

    def __init__(self, config: str | os.PathLike[str] | Mapping[str, Any] | ExperimentTracker | None = None) -> None:
        self._tracker = config if isinstance(config, ExperimentTracker) else ExperimentTracker(config)

    def start_data_pipeline(
        self, name: str, source: str | None = None, expected_records: int | None = None, **options: Any
    ) -> StartedPipeline:
        """``start_data_pipeline`` with this configuration."""
        return StartedPipeline(functools.partial(_started, self._tracker, name, source, expected_records, options))


def start_data_pipeline(
    name: str, source: str | None = None, expected_records: int | None = None, **options: Any
) -> StartedPipeline:
    """An execution of the pipeline ``name``, for ``with``, as a decorator, or as it is.

    ::

        with start_data_pipeline("daily_prices", "exchange_feed", 10_000) as p:
            p.log_stage("extraction", 9_990, errors=10, duration_seconds=45.2)
            p.complete_pipeline(9_990)

    :param parent: another execution that this one belongs to.
    ``options`` are those of ``ExperimentTracker.start_run``.
    """
    return StartedPipeline(functools.partial(_started, tracker, name, source, expected_records, options))


def _started(
    by: ExperimentTracker, name: str, source: str | None, expected: int | None, options: Mapping[str, Any]
) -> Pipeline:
    given = dict(options)
    parent = given.pop("parent", None)
    tags = {"pipeline.name": name, **(given.pop("tags", None) or {})}
    run = by.start_run(
        f"{EXPERIMENTS}{name}",
        given.pop("run_name", None) or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        tags,
        parent=parent.run if isinstance(parent, Pipeline) else parent,
        **given,
    )
    known = {"source": source, "expected_records": expected}
    run.log_params({key: value for key, value in known.items() if value is not None})
    return Pipeline(run, name, expected)


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested mappings, with its path; truth counts as 1 and 0, and all else is left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{path}/{key}" if path else str(key))
    elif isinstance(value, (bool, int, float)):
        yield path, float(value)
    elif callable(item := getattr(value, "item", None)) and getattr(value, "size", 1) == 1:
        yield path, float(item())
