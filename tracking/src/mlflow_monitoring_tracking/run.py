"""A run: what a training calls. No call waits for a network, and none raises for the tracking's own troubles."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, cast

from mlflow_monitoring_tracking import artifacts
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.features.baseline import features_of, write_baseline
from mlflow_monitoring_tracking.process import last_line, process
from mlflow_monitoring_tracking.spool.recorder import Level, Recorder
from mlflow_monitoring_tracking.spool.records import MAX_KEY, MAX_POINTS, Ended, Opened, Params, Record, Tags
from mlflow_monitoring_tracking.spool.times import PointTimes, now_ms
from mlflow_monitoring_tracking.values import NotANumberError, exact_integer, number_of, text_of

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.session import Session
    from mlflow_monitoring_tracking.settings import Settings

_P = ParamSpec("_P")
#: Characters of a parameter above which it is an artifact, too: MLflow cuts what is longer, without a word.
_LONGEST_PARAM = 6000


def _harmless(method: Callable[Concatenate[Run, _P], None]) -> Callable[Concatenate[Run, _P], None]:
    """A failure inside is an event, and an exception only if ``strict`` is set."""

    @functools.wraps(method)
    def guarded(self: Run, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the training goes on
            self._trouble(error)

    return cast("Callable[Concatenate[Run, _P], None]", guarded)


class Run:
    """One run, as it is written. Get one from ``start_experiment`` or ``ExperimentTracker.start_run``.

    Safe for threads. A forked child may go on using it, with a file of its own; what ends the run is the process
    that began it.
    """

    def __init__(self, session: Session, opened: Opened, *, leads: bool, logs_points: bool) -> None:
        self._session = session
        self._opened = opened
        self._leads = leads
        self._logs_points = logs_points
        self._recorder = Recorder(lambda: session.open_writer(self._opened), self._told)
        self._times = PointTimes()
        self._ended: str | None = None
        self._warned: set[str] = set()
        self._syncs_each = session.syncs_each

    def begin(self, *, samples: bool = False) -> None:
        """Make its file, and have it sent from now on. ``samples`` are those of the machine."""
        if self._leads or self._logs_points:
            self._recorder.open()
            process.add(self)
            self._session.wake(self._opened)
        if samples and self._logs_points:
            self._session.start_sampling(self, self._opened)

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def run_key(self) -> str:
        """What the run is called here: known at once, and the same after a restart."""
        return self._opened.run_key

    @property
    def run_name(self) -> str | None:
        """What people call it."""
        return self._opened.run_name

    @property
    def experiment(self) -> str:
        """The experiment's name."""
        return self._opened.experiment

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until a sender has made it there: ``wait_synced`` waits for that."""
        return self._session.run_id(self._opened)

    @property
    def status(self) -> str:
        """RUNNING, or how it ended."""
        return self._ended or "RUNNING"

    # -- what it logs -------------------------------------------------------------------------------------------

    def log_metric(self, key: str, value: Any, step: int | None = None) -> None:
        """Log one value. ``value`` is anything that is one number: of Python, numpy, torch; None is left out."""
        try:
            number = value if type(value) is float else number_of(value)
            if number is None or not self._logs_points:
                return
            recorder = self._recorder
            with recorder.lock:
                if self._ended is not None or len(key) > MAX_KEY // 4:
                    self._refuse(key)
                elif type(step) is int or step is None:
                    recorder.point(key, number, step, self._times.at(key, step))
                else:
                    step = int(step)
                    recorder.point(key, number, step, self._times.at(key, step))
            if self._syncs_each:
                self.keep(force=True)
            if type(value) is not float and (exact := exact_integer(value)):
                self._record(Tags({f"tracking.exact.{key}": exact}))
        except NotANumberError as error:
            self._skip(key, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the training goes on
            self._trouble(error)

    @_harmless
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log values of several metrics at one step, in one write."""
        if not self._logs_points:
            return
        values: list[tuple[str, float]] = []
        exact: dict[str, str] = {}
        for key, value in metrics.items():
            try:
                number = number_of(value)
            except NotANumberError as error:
                self._skip(key, error)
                continue
            if number is not None:
                values.append((str(key), number))
            if text := exact_integer(value):
                exact[f"tracking.exact.{key}"] = text
        step = None if step is None else int(step)
        with self._recorder.lock:
            if self._ended is not None or any(len(key) > MAX_KEY // 4 for key, _ in values):
                self._refuse("log_metrics")
                return
            for start in range(0, len(values), MAX_POINTS):
                some = values[start : start + MAX_POINTS]
                self._recorder.points(some, step, max(self._times.at(key, step) for key, _ in some))
        if self._syncs_each:
            self.keep(force=True)
        if exact:
            self._record(Tags(exact))

    @_harmless
    def log_param(self, key: str, value: Any) -> None:
        """Log one parameter; it is text afterwards."""
        self._log_params({key: value}, "")

    @_harmless
    def log_params(self, params: Mapping[str, Any], prefix: str = "") -> None:
        """Log parameters, each with ``prefix`` before its name."""
        self._log_params(params, prefix)

    @_harmless
    def set_tag(self, key: str, value: Any) -> None:
        """Set one tag."""
        if self._leads:
            self._record(Tags({str(key): text_of(value)}))

    @_harmless
    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; those that are there are replaced."""
        if self._leads and tags:
            self._record(Tags({str(key): text_of(value) for key, value in tags.items()}))

    @_harmless
    def log_artifact(self, path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Log a file, or all files of a directory, as they are now; below ``artifact_path`` if that is given."""
        self._add_files(Path(path), artifact_path)

    @_harmless
    def log_figure(self, fig: Any, name: str) -> None:
        """Log a figure of matplotlib, plotly or Pillow as ``figures/<name>``; a name without an ending gets one."""
        with artifacts.scratch(self._directory) as directory:
            self._add_files(artifacts.save_figure(fig, directory, name), "figures")

    @_harmless
    def log_model(self, model: Any, name: str) -> None:
        """Log a model as ``models/<name>``: in MLflow's form where the extra [models] is installed, else pickled."""
        with artifacts.scratch(self._directory) as directory:
            self._add_files(artifacts.save_model(model, directory, name), "models")

    @_harmless
    def log_baseline(self, data: Any, predictions: Any = None, *, plain: bool = False) -> None:
        """Log what features look like in training, as ``baseline/features.json``, for drift in production.

        :param data: a table of pandas or numpy, or many rows: dicts, lists, rows of numpy.
        :param predictions: what the model says to each row.
        :param plain: keep the text of categories, which is hashed otherwise, as production has to do, too.
        """
        with artifacts.scratch(self._directory) as directory:
            path = directory / "features.json"
            write_baseline(path, features_of(data, predictions, plain=plain))
            self._add_files(path, "baseline")

    # -- where it is --------------------------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> bool:
        """Everything logged so far is on the disk now, and senders know of it; whether it is."""
        if timeout is not None and timeout < 0:
            raise ValueError("a time limit cannot be negative")
        try:
            self.keep(touch=True, force=True)
            self._session.wake(self._opened)
        except OSError as error:
            self._trouble(error)
            return False
        return self._recorder.level is not Level.UNUSABLE

    def wait_synced(self, timeout: float = 60.0) -> bool:
        """Wait until every back end has everything that was logged so far; whether they have, within ``timeout`` s."""
        return self._session.wait_synced(self._opened, self._recorder, timeout, ended=self._ended is not None)

    # -- how it ends --------------------------------------------------------------------------------------------

    @_harmless
    def end(self, status: str = "FINISHED") -> None:
        """End the run: FINISHED, FAILED or KILLED. In a process that did not begin it, only its part of it ends."""
        with self._recorder.lock:
            if self._ended is not None:
                return
            process.remove(self)
            self._ended = status
            if self._leads and self._opened.owner:
                self._recorder.record(Ended(status, now_ms()), last=True)
            self._session.stop_sampling(self)
            self._recorder.close(ended=True)
        event("run_ended", run_id=self.run_key, experiment_id=self.experiment, status=status)
        self._session.wake(self._opened)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that gets it by pickle (spawn, forkserver) adds to the same run."""
        return _attached, (self._session.settings, self._opened, self._leads, self._logs_points)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
            self.end("KILLED" if process.interrupted else "FINISHED")
            return
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)) or process.interrupted:
            self.end("KILLED")
            return
        self.set_tags({"tracking.failure": last_line(error)})
        self.end("FAILED")

    # -- inside -------------------------------------------------------------------------------------------------

    def keep(self, *, touch: bool = False, force: bool = False) -> None:
        """Write to the disk what the system holds back. Called every second by the process's own thread."""
        if touch or force:
            self._recorder.crowd(is_crowded=self._session.is_crowded())
        writer = self._recorder.writer
        if writer is None:
            return
        if touch:
            writer.touch()
        if self._recorder.dirty and (force or self._session.is_time_to_sync()):
            self._recorder.dirty = False
            try:
                os.fdatasync(writer.descriptor)
            except OSError:
                self._recorder.dirty = True  # closed meanwhile, or a disk that fails: the next write says so

    def sampled(self, values: Mapping[str, float], step: int) -> None:
        """Record what the sampler found; nothing once the run has ended."""
        with self._recorder.lock:
            if self._ended is None and values:
                time_ms = max(self._times.at(key, step) for key in values)
                self._recorder.points(list(values.items()), step, time_ms)

    @_harmless
    def leave_open(self) -> None:
        """The end of this process does not end it; who does may be another one."""
        process.remove(self)
        self.keep(force=True)

    @_harmless
    def record_at(self, values: Mapping[str, float], step: int, time_ms: int) -> None:
        """Record values of a moment that is over, in milliseconds since 1970."""
        with self._recorder.lock:
            if self._ended is None and values and self._logs_points:
                some = list(values.items())
                for start in range(0, len(some), MAX_POINTS):
                    self._recorder.points(some[start : start + MAX_POINTS], step, time_ms)

    def forked(self) -> None:
        """In a forked child: go on with a file of its own, which another process's end does not end."""
        self._opened = self._session.member(self._opened)
        self._recorder.forget()

    @property
    def _directory(self) -> Path:
        return self._session.directory(self._opened).path

    def _log_params(self, params: Mapping[str, Any], prefix: str) -> None:
        if not self._leads or not params:
            return
        texts = {f"{prefix}{key}": text_of(value) for key, value in params.items()}
        self._record(Params(texts))
        for key, text in texts.items():
            if len(text) > _LONGEST_PARAM:
                with artifacts.scratch(self._directory) as directory:
                    self._add_files(artifacts.save_text(text, directory, key), "params")

    def _add_files(self, path: Path, below: str | None) -> None:
        if not self._leads:
            return
        copy = not self._session.is_half_full()
        for record in artifacts.records(path, below, self._session.directory(self._opened).files, copy=copy):
            self._record(record)
            if not self._session.is_online:
                event("artifact_cached", logging.DEBUG, run_id=self.run_key, path=record.path)

    def _record(self, record: Record) -> None:
        if self._ended is not None:
            self._refuse(type(record).__name__)
            return
        self._recorder.record(record)
        if self._syncs_each:
            self.keep(force=True)

    def _refuse(self, what: str) -> None:
        raise ValueError(f"{what} was logged after the run {self.run_key} ended, or its key is too long")

    def _skip(self, key: str, error: NotANumberError) -> None:
        if self._session.strict:
            raise error
        if key not in self._warned and len(self._warned) < 1000:  # enough lines for any log
            self._warned.add(key)
            event("value_skipped", logging.WARNING, run_id=self.run_key, key=key, reason=error)

    def _trouble(self, error: Exception) -> None:
        if self._session.strict:
            raise error
        name = f"{type(error).__name__}: {error}"
        if name not in self._warned and len(self._warned) < 1000:
            self._warned.add(name)
            event("value_skipped", logging.WARNING, run_id=self.run_key, reason=name)

    def _told(self, level: Level, why: str) -> None:
        names = {Level.NORMAL: "tracking_recovered", Level.FULL: "tracking_degraded"}
        event(names.get(level, "tracking_unavailable"), logging.WARNING, run_id=self.run_key, reason=why)


def _attached(settings: Settings, opened: Opened, leads: bool, logs_points: bool) -> Run:  # noqa: FBT001 - of pickle
    """The run of another process, in this one."""
    from mlflow_monitoring_tracking.session import Session

    session = Session(settings, dict)
    run = Run(session, session.member(opened), leads=leads, logs_points=logs_points)
    run.begin()
    return run
