"""Deliver one run to one back end: in order, each record once as far as the back end can tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from mlflow_monitoring_tracking.backends.contract import Backend, Pair, Rejected, RunGone, RunMoved, RunState, Upload
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.sending.batches import Batch, halve, next_batch
from mlflow_monitoring_tracking.sending.progress import Progress, load, save, set_aside
from mlflow_monitoring_tracking.settings import Delivery
from mlflow_monitoring_tracking.spool.layout import RunDirectory, run_directory
from mlflow_monitoring_tracking.spool.reader import Read, opened, read_run
from mlflow_monitoring_tracking.spool.records import Artifact, Opened, Point

_Item = TypeVar("_Item", Point, Pair)


class RunDelivery:
    """One run's way to one back end. To be used by one thread, under the run's sender lock.

    ``parent_of`` finds what this back end calls the parent of a run, if that is known.
    """

    def __init__(
        self,
        directory: RunDirectory,
        backend: Backend,
        settings: Delivery,
        parent_of: Callable[[str], RunState | None] = lambda _key: None,
    ) -> None:
        self._directory = directory
        self._backend = backend
        self._settings = settings
        self._parent_of = parent_of
        self.progress: Progress = load(directory, backend.name)
        self._run: Opened | None = None
        self._started = False
        self._reads: Iterator[Read] | None = None
        self._batch: Batch | None = None

    def step(self, goes_on: Callable[[], bool] = lambda: True) -> bool:
        """Send what there is; True when nothing is left, False when ``goes_on`` said to stop.

        What was sent stays sent, whatever is raised.

        :raises BackendError: as the back end did.
        :raises OSError: the spool cannot be read, or progress not be saved.
        :raises SpoolFormatError: a segment cannot be read.
        """
        if self._run is None and (run := opened(self._directory)):
            self._run = run
        if self._run is None:
            return True
        while goes_on():
            self._batch = batch = self._batch or self._next()
            try:
                if batch is None:
                    self._end(self._run)
                    return True
                self._send_or_give_up(self._run, batch)
            except RunMoved:
                self._begin_again()
            else:
                self._done(batch)
                self._batch = None
        return False

    def _send_or_give_up(self, run: Opened, batch: Batch) -> None:
        try:
            self._send(run, batch)
        except RunGone as gone:
            self._give_up(batch, str(gone))

    def _begin_again(self) -> None:
        """Send all of the run once more."""
        self.progress = Progress(run=self.progress.run)
        save(self._directory, self._backend.name, self.progress)
        self._batch = self._reads = None

    def _next(self) -> Batch | None:
        if self._reads is None:
            self._reads = read_run(self._directory, self.progress.places)
        most = min(self._backend.max_points, self._settings.batch_size)
        batch = next_batch(self._reads, most, self._settings.batch_bytes)
        if batch is None:
            self._reads = None
        return batch

    def _send(self, run: Opened, batch: Batch) -> None:
        """Everything of a batch; what is sent leaves it, so that it may be called again."""
        state, backend, counts = self.progress.run, self._backend, self.progress.counts
        self._start(run)
        if batch.reopened and self.progress.ended is not None:
            backend.resume(run, state)
            self.progress.ended = None

        def tags(pairs: list[Pair]) -> None:
            backend.set_tags(run, state, pairs)
            counts.delivered += len(pairs)

        def params(pairs: list[Pair]) -> None:
            backend.log_params(run, state, pairs)
            counts.delivered += len(pairs)

        def points(chunk: list[Point]) -> None:
            backend.log_points(run, state, chunk)
            counts.delivered_points += len(chunk)
            now_ms = time.time_ns() / 1e6
            self.progress.latency_ms.observe(max(0.0, now_ms - point.time_ms) for point in chunk)
            event("metrics_logged", logging.DEBUG, **self._labels(), points=len(chunk))

        self._chunks(batch.tags, tags, "tag")
        self._chunks(batch.params, params, "param")
        self._chunks(batch.points, points, "point")
        while batch.artifacts:
            self._upload(run, batch.artifacts[0])
            batch.artifacts.pop(0)

    def _start(self, run: Opened) -> None:
        """Find or make the run, unless that was done."""
        if "gone" in self.progress.run.notes:
            raise RunGone(str(self.progress.run.notes["gone"]))
        if not self._started:
            # Before it is reached for the first time: who looks at the spool sees that this back end is to get it.
            save(self._directory, self._backend.name, self.progress)
            parent = self._parent_of(run.parent_key) if run.parent_key else None
            try:
                self._backend.start(run, parent, self.progress.run)
            except Rejected as refusal:
                raise RunGone(f"the run itself was rejected: {refusal}") from refusal
            save(self._directory, self._backend.name, self.progress)
            self._started = True

    def _end(self, run: Opened) -> None:
        """Send the end once everything else of the run is sent."""
        if self.progress.to_end is None:
            return
        try:
            self._start(run)
            self._backend.end(run, self.progress.run, self.progress.to_end.status, self.progress.to_end.end_ms)
        except (Rejected, RunGone) as refusal:
            self._set_aside("end", asdict(self.progress.to_end), str(refusal))
        self.progress.ended, self.progress.to_end = self.progress.to_end.status, None
        save(self._directory, self._backend.name, self.progress)

    def _chunks(self, chunks: list[list[_Item]], send: Callable[[list[_Item]], None], kind: str) -> None:
        while chunks:
            try:
                send(chunks[0])
            except Rejected as refusal:
                if (single := halve(chunks)) is not None:
                    self._set_aside(kind, asdict(single), str(refusal))
            else:
                chunks.pop(0)

    def _upload(self, run: Opened, artifact: Artifact) -> None:
        file = self._directory.files / artifact.file  # an absolute path stays what it is
        try:
            self._backend.upload(run, self.progress.run, Upload(file, artifact.path, artifact.size, artifact.sha256))
        except Rejected as refusal:
            event("upload_failed", logging.WARNING, **self._labels(), path=artifact.path, reason=refusal)
            self._set_aside("artifact", asdict(artifact), str(refusal))
        else:
            self.progress.counts.delivered += 1
            self.progress.upload_bytes.observe([artifact.size])

    def _set_aside(self, kind: str, record: Mapping[str, object], reason: str, *, quiet: bool = False) -> None:
        set_aside(self._directory, self._backend.name, kind, record, reason)
        if kind == "point":
            self.progress.counts.set_aside_points += 1
        else:
            self.progress.counts.set_aside += 1
        if not quiet:
            item = record.get("key") or record.get("path")
            event("record_rejected", logging.WARNING, **self._labels(), kind=kind, item=item, reason=reason)

    def _give_up(self, batch: Batch, reason: str) -> None:
        """The run is gone there: set aside all that is left of it."""
        if "gone" not in self.progress.run.notes:
            self.progress.run.notes["gone"] = reason
            event(
                "record_rejected",
                logging.ERROR,
                **self._labels(),
                kind="run",
                item=self._directory.label,
                reason=reason,
            )
        for kind, chunks in (("tag", batch.tags), ("param", batch.params), ("point", batch.points)):
            for chunk in chunks:
                for item in chunk:
                    self._set_aside(kind, asdict(item), reason, quiet=True)
        for artifact in batch.artifacts:
            self._set_aside("artifact", asdict(artifact), reason, quiet=True)

    def _done(self, batch: Batch) -> None:
        counts, lost = self.progress.counts, batch.lost
        counts.lost_points += lost.lost_points
        counts.lost += lost.lost
        counts.damaged_bytes += lost.damaged_bytes
        self.progress.places.update(batch.places)
        if batch.reopened:
            self.progress.to_end = None
        if batch.ended is not None:
            self.progress.to_end = batch.ended
        save(self._directory, self._backend.name, self.progress)

    def _labels(self) -> dict[str, object]:
        run = self._run
        return {
            "experiment_id": run.experiment if run else None,
            "run_id": self.progress.run.run_id or self._directory.label,
            "platform": self._backend.name,
        }


def parents(spool: Path, backend: str) -> Callable[[str], RunState | None]:
    """How to find what a back end calls the run with a key, in one spool."""

    def find(run_key: str) -> RunState | None:
        state = load(run_directory(spool, run_key), backend).run
        return state if state.run_id else None

    return find
