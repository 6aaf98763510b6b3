"""Deployments of model versions: each is a run of ``rollouts/<environment>/<model>`` whose name is the version.

::

    run      params  strategy and whatever else was said    tags  deployment.kind (deploy, rollback), deployment.user,
    metrics  duration_seconds, lead_time_seconds, rollback        deployment.from_version, deployment.error

It is RUNNING until it is told how it ended, by any process of the machine: FINISHED or FAILED. Where the process that
began it is gone before that, the sender of its spool ends it as KILLED, and who ends it later corrects that.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.operations import user
from mlflow_monitoring_tracking.process import last_line
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.spool.drafts import replace_json
from mlflow_monitoring_tracking.spool.layout import directory_name
from mlflow_monitoring_tracking.tracker import ExperimentTracker, tracker

#: Before the environment and the model, in names of experiments: the daemon knows them by it.
EXPERIMENTS = "rollouts/"
#: Deployments that this process began, by the keys of their runs.
_begun: dict[str, Run] = {}


class _What(NamedTuple):
    """Which version of which model, and where."""

    model: str
    version: str
    environment: str

    @property
    def experiment(self) -> str:
        return f"{EXPERIMENTS}{self.environment.replace('/', '-')}/{self.model}"


class ModelDeploymentTracker:
    """Records when which version of a model was deployed where, and how that ended.

    :param config: the path of a file, a dict, a tracker, or None for what the environment says.
    """

    def __init__(self, config: str | os.PathLike[str] | Mapping[str, Any] | ExperimentTracker | None = None) -> None:
        self._tracker = (
            tracker
            if config is None
            else config
            if isinstance(config, ExperimentTracker)
            else ExperimentTracker(config)
        )

    def start(
        self,
        model: str,
        version: object,
        environment: str = "production",
        *,
        version_created_at: float | None = None,
        user_id: str | None = None,
        **fields: Any,
    ) -> str:
        """A deployment begins; the key of its run.

        :param version_created_at: when the version was made, in seconds since 1970, for the lead time.
        """
        run = self._begin(_What(model, str(version), environment), {"deployment.kind": "deploy"}, user_id, fields)
        if version_created_at is not None:
            run.log_metric("lead_time_seconds", max(0.0, time.time() - version_created_at))
        with suppress(OSError):  # an end that does not find it makes another run
            path = self._open(_What(model, str(version), environment))
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_json(path, {"run_key": run.run_key, "began": time.time()})
        run.leave_open()
        _begun[run.run_key] = run
        return run.run_key

    def succeed(self, model: str, version: object, environment: str = "production", **fields: Any) -> None:
        """It has ended well."""
        self._end(_What(model, str(version), environment), "FINISHED", None, fields)

    def fail(
        self, model: str, version: object, environment: str = "production", error: object = None, **fields: Any
    ) -> None:
        """It has failed, for this reason: an exception or text."""
        self._end(_What(model, str(version), environment), "FAILED", error, fields)

    def rollback(
        self,
        model: str,
        version: object,
        environment: str = "production",
        *,
        from_version: object = None,
        reason: object = None,
        user_id: str | None = None,
        **fields: Any,
    ) -> str:
        """The environment serves ``version`` again, instead of ``from_version``. Over as soon as it is logged."""
        tags = {"deployment.kind": "rollback"}
        known = {"deployment.from_version": from_version, "deployment.reason": reason}
        tags.update({key: str(value) for key, value in known.items() if value is not None})
        run = self._begin(_What(model, str(version), environment), tags, user_id, fields)
        run.log_metric("rollback", 1)
        run.end("FINISHED")
        return run.run_key

    def _begin(self, what: _What, tags: Mapping[str, str], user_id: str | None, fields: Mapping[str, Any]) -> Run:
        said = {
            "deployment.user": user_id or user(),
            "deployment.model": what.model,
            "deployment.version": what.version,
            **tags,
        }
        run = self._tracker.start_run(what.experiment, what.version, said, run_key=f"rollout-{uuid.uuid4().hex}")
        run.log_params(fields)
        return run

    def _end(self, what: _What, status: str, error: object, fields: Mapping[str, Any]) -> None:
        path = self._open(what)
        try:
            said = json.loads(path.read_text("utf-8"))
            key, seconds = str(said["run_key"]), time.time() - float(said["began"])
        except (OSError, ValueError, KeyError, TypeError):
            reason = f"the start of {what.model} {what.version} in {what.environment} is not known"
            event("value_skipped", logging.WARNING, reason=reason)
            run = self._begin(what, {"deployment.kind": "deploy"}, None, {})
        else:
            run = (
                _begun.pop(key)
                if key in _begun
                else self._tracker.start_run(what.experiment, what.version, run_key=key)
            )
            run.log_metric("duration_seconds", max(0.0, seconds))
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if error is not None:
            run.set_tag("deployment.error", last_line(error) if isinstance(error, BaseException) else str(error))
        run.log_params(fields)
        run.end(status)

    def _open(self, what: _What) -> Path:
        """Where it is said which run an open deployment is."""
        name = directory_name(f"{what.environment} {what.model} {what.version}")
        return self._tracker.settings.spool_dir.absolute() / ".rollouts" / f"{name}.json"
