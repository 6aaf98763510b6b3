"""Replay a run into MLflow, exactly: one run for each key, one row for each point.

MLflow's own ids cannot be chosen, so a run is found by a tag that holds its key. What makes the rest exact: rows
of metrics are unique by (key, step, time, value), parameters may be repeated with the same value, tags and files
are replaced.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow_monitoring_tracking.backends.contract import (
    Pair,
    Rejected,
    RunGone,
    RunMoved,
    RunState,
    Unavailable,
    Upload,
)
from mlflow_monitoring_tracking.backends.mlflow import names
from mlflow_monitoring_tracking.backends.mlflow.client import Client, NotFound
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.settings import MLflow
from mlflow_monitoring_tracking.spool.records import GIVEN_RUN, Opened, Point

#: The tag that holds a run's key.
KEY_TAG = "tracking.run_key"
#: Seconds after which a rank that does not lead makes the run itself: the leading one has none to show.
_WAIT_FOR_LEADER = 120.0
_PARAMS_AT_ONCE = 100


class MLflowBackend:
    """One MLflow server. ``settings.tracking_uri`` is ``http://`` or ``https://``."""

    name = "mlflow"
    max_points = 1000  # MLflow's own limit of one log-batch

    def __init__(self, client: Client, settings: MLflow) -> None:
        self._client = client
        self._settings = settings
        self._experiments: dict[str, str] = {}
        self._first_seen: dict[str, float] = {}

    def check(self) -> str:
        """Ask the server for one experiment."""
        self._client.post("experiments/search", {"max_results": 1})
        return f"{self._client.address} answers"

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        """Find the run by its key, or create it; once it is there, its name is kept in ``state``."""
        if state.run_id is not None:
            return
        if (given := run.tags.get(GIVEN_RUN)) is not None:
            self._go_on(run, state, given)
            return
        experiment = self._experiment(run.experiment)
        found = self._find(experiment, run.run_key)
        if found is None:
            if run.rank and not run.owner:
                waited = time.monotonic() - self._first_seen.setdefault(run.run_key, time.monotonic())
                if waited < _WAIT_FOR_LEADER:
                    raise Unavailable(f"the run {run.run_key} is made by rank 0, whose sender has not come to it", 2.0)
            try:
                self._create(experiment, run, parent)
            except Unavailable:
                state.notes["ambiguous"] = True  # it may be made all the same, and late
                raise
            # An answer that was lost leaves a run behind: the one that began first is the run.
            found = self._find(experiment, run.run_key)
        if found is None:
            raise Unavailable(f"the run {run.run_key} was created, but cannot be found yet", 1.0)
        self._use(state, experiment, found)
        event("run_started", experiment_id=experiment, run_id=state.run_id, platform=self.name, run_key=run.run_key)

    def _go_on(self, run: Opened, state: RunState, run_id: str) -> None:
        """With a run that somebody else has made, and whose id the environment named."""
        try:
            found = self._client.get("runs/get", {"run_id": run_id})["run"]
        except NotFound as error:
            raise RunGone(f"MLflow has no run {run_id}, which MLFLOW_RUN_ID named: {error}") from error
        self._use(state, str(found["info"]["experiment_id"]), found)
        tags = {**run.tags, KEY_TAG: run.run_key}
        self._tags(run, state, [Pair(key, value) for key, value in tags.items() if key != GIVEN_RUN])
        self.resume(run, state)

    def resume(self, run: Opened, state: RunState) -> None:
        """Set the status back to RUNNING."""
        self._on_run(run, state, "runs/update", {"status": "RUNNING"})

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        """One log-batch. Keys that MLflow refuses are encoded, and a tag says what they were."""
        encoded = {p.key: named for p in points if (named := names.encoded(p.key)) != p.key}
        if encoded:
            self._tags(run, state, [Pair(f"{names.ORIGINAL_TAG}{named}", key) for key, named in encoded.items()])
        metrics = [
            {
                "key": encoded.get(point.key, point.key),
                "value": names.number(point.value),
                "timestamp": max(0, point.time_ms),
                "step": point.step or 0,
            }
            for point in points
        ]
        self._on_run(run, state, "runs/log-batch", {"metrics": metrics})

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        """Parameters alone, since one that conflicts refuses a whole batch. A long one is kept whole as an artifact."""
        if len(params) > _PARAMS_AT_ONCE:
            raise Rejected(f"more than {_PARAMS_AT_ONCE} parameters at once")
        sent = []
        for param in params:
            key = names.encoded(param.key)
            if key != param.key:
                self._tags(run, state, [Pair(f"{names.ORIGINAL_TAG}{key}", param.key)])
            sent.append({"key": key, "value": param.value[: names.LONGEST_PARAM]})
        try:
            self._on_run(run, state, "runs/log-batch", {"params": sent})
        except Rejected as refusal:
            if len(params) == 1 and not isinstance(refusal, (RunGone, NotFound)):
                self._tags(
                    run, state, [Pair(f"tracking.conflict.{sent[0]['key']}"[: names.LONGEST_KEY], params[0].value)]
                )
            raise

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        """Tags, a hundred at a time, which is MLflow's limit."""
        pairs = list(tags)
        for start in range(0, len(pairs), _PARAMS_AT_ONCE):
            self._tags(run, state, pairs[start : start + _PARAMS_AT_ONCE])

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Through the server's artifact proxy, or into the directory where the run's artifacts are."""
        if not upload.file.is_file():
            raise Rejected(f"{upload.file} is not there any more")
        root = urlsplit(str(state.notes.get("artifacts", "")))
        if root.scheme == "mlflow-artifacts":
            self._client.put_file(f"{root.path.lstrip('/')}/{upload.path}", upload.file)
        elif root.scheme in {"", "file"} and root.path:
            target = Path(unquote(root.path)) / upload.path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(upload.file, target)
            except OSError as error:
                raise Rejected(f"{target} cannot be written: {error.strerror}") from error
        else:
            raise Rejected(
                f"artifacts of this server are at {root.scheme}://, which only its proxy reaches; start it with"
                " --serve-artifacts"
            )

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        """Status and time of the end."""
        if state.notes.pop("ambiguous", False):
            self._find(str(state.notes["experiment_id"]), run.run_key, keep=state.run_id)
        self._on_run(run, state, "runs/update", {"status": status, "end_time": end_ms})
        event("run_ended", run_id=state.run_id, platform=self.name, status=status)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        body = [{"key": names.encoded(tag.key), "value": tag.value[: names.LONGEST_TAG]} for tag in tags]
        self._on_run(run, state, "runs/log-batch", {"tags": body})

    def _on_run(self, run: Opened, state: RunState, path: str, body: dict[str, Any]) -> None:
        try:
            self._client.post(path, {"run_id": state.run_id, **body})
        except Rejected as error:
            if not isinstance(error, NotFound) and "'active'" not in str(error):
                raise
            # Two senders may have made the run at once, and the other one's was kept.
            other = self._find(str(state.notes["experiment_id"]), run.run_key)
            if other is not None and other["info"]["run_id"] != state.run_id:
                self._use(state, str(state.notes["experiment_id"]), other)
                raise RunMoved(f"the run is {state.run_id} now") from error
            raise RunGone(f"the run {state.run_id} was deleted: {error}") from error

    @staticmethod
    def _use(state: RunState, experiment: str, found: Any) -> None:
        state.run_id = found["info"]["run_id"]
        state.notes |= {"experiment_id": experiment, "artifacts": found["info"].get("artifact_uri", "")}

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            self._experiments[name] = self._find_experiment(name) or self._create_experiment(name)
        return self._experiments[name]

    def _find_experiment(self, name: str) -> str | None:
        try:
            found = self._client.get("experiments/get-by-name", {"experiment_name": name})["experiment"]
        except NotFound:
            return None
        if found.get("lifecycle_stage") == "deleted":
            raise Unavailable(
                f"the experiment {name!r} was deleted in MLflow; restore it, or choose another name", 60.0
            )
        return str(found["experiment_id"])

    def _create_experiment(self, name: str) -> str:
        try:
            return str(self._client.post("experiments/create", {"name": name})["experiment_id"])
        except Rejected as error:
            if (found := self._find_experiment(name)) is not None:
                return found  # another process was faster
            raise RunGone(f"MLflow refuses the experiment {name!r}: {error}") from error

    def _find(self, experiment: str, run_key: str, keep: str | None = None) -> Any:
        """The run with this key that began first, or ``keep``; others are deleted, which MLflow can take back."""
        quoted = run_key.replace("\\", "\\\\").replace("'", "\\'")
        body = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{KEY_TAG}` = '{quoted}'",
            "max_results": 100,
            "run_view_type": "ACTIVE_ONLY",
        }
        runs = self._client.post("runs/search", body).get("runs", [])
        runs.sort(
            key=lambda run: (run["info"]["run_id"] != keep, int(run["info"]["start_time"]), run["info"]["run_id"])
        )
        for surplus in runs[1:]:
            self._client.post("runs/delete", {"run_id": surplus["info"]["run_id"]})
            event("surplus_run_deleted", logging.WARNING, platform=self.name, run_id=surplus["info"]["run_id"])
        return runs[0] if runs else None

    def _create(self, experiment: str, run: Opened, parent: RunState | None) -> None:
        tags = {**run.tags, KEY_TAG: run.run_key}
        if run.description is not None:
            tags["mlflow.note.content"] = run.description
        parent_id = parent.run_id if parent is not None else None
        if run.parent_key and parent_id is None:
            parent_run = self._find(experiment, run.parent_key)
            if parent_run is None:
                raise Unavailable(f"the parent {run.parent_key} is not there yet", 1.0)
            parent_id = parent_run["info"]["run_id"]
        if parent_id is not None:
            tags["mlflow.parentRunId"] = parent_id
        body = {
            "experiment_id": experiment,
            "run_name": run.run_name or "",
            "start_time": run.start_ms,
            "tags": [{"key": names.encoded(key), "value": value[: names.LONGEST_TAG]} for key, value in tags.items()],
        }
        try:
            self._client.post("runs/create", body)
        except Rejected as error:
            raise RunGone(f"MLflow refuses the run: {error}") from error
