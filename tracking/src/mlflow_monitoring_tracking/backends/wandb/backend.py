"""Replay a run into W&B with its own client: one run for each key, and each row once.

W&B lets a client choose a run's id, and numbers the rows of its history. A run that is resumed says how many rows there
are, and a row that comes again under its number replaces itself. So what makes a replay exact is that rows keep their
numbers: ``journal.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlflow_monitoring_tracking.backends.contract import (
    Pair,
    Rejected,
    RunMoved,
    RunState,
    Unavailable,
    Upload,
)
from mlflow_monitoring_tracking.backends.wandb.journal import Journal, Mark
from mlflow_monitoring_tracking.backends.wandb.process import ClientProcess
from mlflow_monitoring_tracking.backends.wandb.session import Session
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.settings import Wandb
from mlflow_monitoring_tracking.spool.records import Opened, Point

#: Clients at once; each is a process of about 100 MB. The one that was not used for longest ends for a new one.
_CLIENTS = 4
#: Seconds for one question.
_CHECK = 30.0
_EXIT_CODES = {"FINISHED": 0, "FAILED": 1}
_KILLED = 255  # as W&B's own client says it
#: Characters that W&B takes in ids and names of projects, and how many.
_REFUSED = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 64


class WandbBackend:
    """W&B, or what speaks its protocol; key and address are its own variables.

    While a run goes on, what is sent is in the journal and with the client, which transmits it every few seconds. Its
    end waits until the server has everything.

    :raises ImportError: the package is not installed: the extra [wandb].
    """

    name = "wandb"
    max_points = 10_000

    def __init__(self, settings: Wandb) -> None:
        found = find_spec("wandb")
        if found is None or found.origin is None:  # a directory "wandb", which its client makes, is no package
            raise ImportError("No module named 'wandb'")
        self._settings = settings
        self._journals: dict[str, Journal] = {}
        self._sessions: dict[str, Session] = {}  # the one used last is the last
        self._pid = os.getpid()

    def check(self) -> str:
        """Ask W&B whose key it is."""
        with tempfile.TemporaryDirectory(prefix="tracking-") as directory:
            client = ClientProcess(Path(directory) / "client")
            try:
                user = client.ask(_CHECK, do="check", timeout=_CHECK / 2)["user"]
            finally:
                client.close()
        return f"{os.environ.get('WANDB_BASE_URL', 'https://api.wandb.ai')} answers, as to {user}"

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        """Choose the run's id; the client makes the run with what is sent first."""
        if state.directory is None:
            raise Unavailable("there is no directory for the journal")
        if state.run_id is None:
            state.run_id = _legal(run.run_key)
            if run.rank and not run.owner:
                # Its spool is on another machine than that of rank 0, and the numbers of its rows are its own.
                state.run_id = f"{state.run_id[: _LONGEST - 12]}-rank{run.rank}"
            state.notes["project"] = self._settings.project or _legal(run.experiment)
            event("run_started", experiment_id=run.experiment, run_id=state.run_id, platform=self.name)

    def resume(self, run: Opened, state: RunState) -> None:
        """Nothing: to open a run resumes it."""

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        """A row for the points of each call, with its step and time."""
        journal = self._journal(state)
        journal.add_points(points)
        self._feed(run, state)

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        """Into the run's config."""
        self._add(run, state, {"config": {pair.key: pair.value for pair in params}})

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        """Into the run's config as ``tag/<key>``: W&B's own tags are words without values."""
        self._add(run, state, {"config": {f"tag/{pair.key}": pair.value for pair in tags}})

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Among the run's files."""
        if not upload.file.is_file():
            raise Rejected(f"{upload.file} is not there any more")
        self._add(run, state, {"file": str(upload.file.absolute()), "path": upload.path})

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        """Finish the run, once the server has everything of it."""
        session = self._feed(run, state)
        self._sessions.pop(self._id(state))
        session.finish(_EXIT_CODES.get(status, _KILLED))
        state.notes["mark"] = [session.mark.offset, session.mark.rows]
        self._journals.pop(self._id(state), None)
        event("run_ended", run_id=state.run_id, platform=self.name, status=status)

    def close(self) -> None:
        """End the clients; their runs go on with the next sender."""
        self._look_at_process()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._journals.clear()

    def _add(self, run: Opened, state: RunState, entry: dict[str, Any]) -> None:
        self._journal(state).add(entry)
        self._feed(run, state)

    def _journal(self, state: RunState) -> Journal:
        self._look_at_process()
        if self._id(state) not in self._journals:
            assert state.directory is not None  # noqa: S101 - start has seen to it
            path, taken = state.directory / "journal.jsonl", int(state.notes.get("taken", 0))
            try:
                self._journals[self._id(state)] = Journal(path, taken)
            except RunMoved:
                state.notes = {"project": state.notes["project"]}
                raise
        return self._journals[self._id(state)]

    def _feed(self, run: Opened, state: RunState) -> Session:
        """Hand what is new in the journal to the client, which is started if there is none."""
        key, journal = self._id(state), self._journal(state)
        session = self._sessions.pop(key, None)
        try:
            if session is None:
                session = self._open(run, state, journal)
            session.feed()
        except BaseException:
            if session is not None:
                session.close()
            self._journals.pop(key)  # what was added last will come again, and is to be known then
            raise
        self._sessions[key] = session
        state.notes["taken"] = journal.taken
        return session

    def _open(self, run: Opened, state: RunState, journal: Journal) -> Session:
        while len(self._sessions) >= _CLIENTS:
            self._sessions.pop(next(iter(self._sessions))).close()
        assert state.directory is not None  # noqa: S101 - start has seen to it
        of_run = {
            "id": state.run_id,
            "project": state.notes["project"],
            "entity": self._settings.entity,
            "name": run.run_name,
            "notes": run.description,
            "group": run.experiment,
            "config": {"tracking.run_key": run.run_key} | {f"tag/{key}": value for key, value in run.tags.items()},
            "start_time": run.start_ms / 1000,
        }
        if run.parent_key:
            of_run["config"]["tracking.parent_run_key"] = run.parent_key
        mark = Mark(*state.notes.get("mark", (0, 0)))
        return Session(journal, mark, of_run, state.directory / "client")

    def _look_at_process(self) -> None:
        """In a forked child: the clients are the parent's."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for session in self._sessions.values():
                session.forget()
            self._sessions.clear()
            self._journals.clear()

    @staticmethod
    def _id(state: RunState) -> str:
        return f"{state.notes['project']}/{state.run_id}"


def _legal(name: str) -> str:
    """The name itself where W&B takes it, else what is left of it and a hash of the whole."""
    plain = _REFUSED.sub("-", name)
    if plain == name and 0 < len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: _LONGEST - 9]}-{digest}".lstrip("-.")
