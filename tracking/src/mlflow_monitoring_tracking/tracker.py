"""Start runs: ``start_experiment`` for most, an ``ExperimentTracker`` for a configuration of one's own."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from mlflow_monitoring_tracking import __version__, configuration, ranks
from mlflow_monitoring_tracking.capture import capture
from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.process import process
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.session import Session
from mlflow_monitoring_tracking.spool.layout import run_directory
from mlflow_monitoring_tracking.spool.reader import living_writers, opened, read_segment
from mlflow_monitoring_tracking.spool.records import FORMAT, GIVEN_RUN, Opened
from mlflow_monitoring_tracking.spool.times import now_ms
from mlflow_monitoring_tracking.values import text_of

if TYPE_CHECKING:
    from mlflow_monitoring_tracking.backends.contract import Backend
    from mlflow_monitoring_tracking.settings import Settings

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S", bound=AbstractContextManager[Any])
_DEFAULT_EXPERIMENT = "Default"


class Backends(MutableMapping[str, Any]):
    """The back ends of a tracker, by name. An object of one's own may be put in, and any may be taken out."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[str, Any] | None = None
        self.contract: dict[str, Backend] = {}

    def ready(self) -> dict[str, Backend]:
        """What a sender needs; made when it is asked for first, since that imports what each one needs."""
        self._all()
        return self.contract

    def _all(self) -> dict[str, Any]:
        if self._made is None:
            from mlflow_monitoring_tracking.backends.available import backends

            self.contract.update(backends(self._settings))
            self._made = dict(self.contract)
        return self._made

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __setitem__(self, name: str, target: Any) -> None:
        from mlflow_monitoring_tracking.backends.custom import CustomBackend
        from mlflow_monitoring_tracking.backends.traced import traced

        made = self._all()
        if not callable(getattr(target, "log_metric", None)) or not callable(getattr(target, "log_param", None)):
            raise TypeError(
                f"the back end {name!r} needs the methods log_param(key, value) and log_metric(key, value, step)"
            )
        made[name] = target
        self.contract[name] = traced(CustomBackend(name, target), self._settings.tracing)

    def __delitem__(self, name: str) -> None:
        del self._all()[name]
        self.contract.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class ExperimentTracker:
    """Starts runs as a configuration says.

    :param config: the path of a file, a dict, or None for what the environment says.
    :raises ConfigurationError: the configuration is wrong; every mistake is in the text.
    """

    def __init__(self, config: str | os.PathLike[str] | Mapping[str, Any] | None = None) -> None:
        self.settings = configuration.load(config)
        self.backends = Backends(self.settings)
        self._session = Session(self.settings, self.backends.ready)

    def start_run(
        self,
        experiment_name: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, Any] | None = None,
        description: str | None = None,
        *,
        run_key: str | None = None,
        resume: bool = True,
        nested: bool = False,
        parent: Run | str | None = None,
    ) -> Run:
        """Start a run, or go on with the one of the same ``run_key``. Returns at once, whatever the network does.

        :param run_key: what the run is called in the spool, and by which it is found again after a restart. By
            default ``TRACKING_RUN_KEY``, else of ``MLFLOW_RUN_ID``, else of the job's id (Slurm, torchrun, ...), else
            a new one.
        :param resume: False makes a new run, although one with this key is there.
        :param nested: whether it belongs to the run of this process that began last.
        :param parent: the run that it belongs to, or that run's key.
        """
        place, disabled = ranks.place(), self.settings.mode == "disabled"
        experiment = experiment_name or self.settings.mlflow.experiment_name or _DEFAULT_EXPERIMENT
        given = {} if run_key else self._given()
        key = run_key or self._key(place, experiment, run_name, given)
        if not resume and opened(run_directory(self._session.spool, key)) is not None:
            key = f"{key}-{uuid.uuid4().hex[:8]}"
        run = Run(
            self._session,
            Opened(
                format=FORMAT,
                run_key=key,
                experiment=str(experiment),
                run_name=None if run_name is None else str(run_name),
                start_ms=now_ms(),
                owner=place.leads,
                host=os.uname().nodename,
                pid=os.getpid(),
                rank=place.rank,
                world_size=place.size,
                parent_key=self._parent_key(parent, nested=nested),
                description=description,
                tags={str(name): text_of(value) for name, value in (tags or {}).items()} | given,
                library=__version__,
            ),
            leads=place.leads and not disabled,
            logs_points=not disabled and (place.leads or self.settings.ranks == "all"),
        )
        run.begin(samples=True)
        if place.leads and not disabled and self.settings.auto_log.enabled:
            run.set_tags(capture(self.settings.auto_log))
        event("run_started", run_id=key, experiment_id=experiment)
        return run

    def experiment(self, name: str, run_name: str | None = None, **options: Any) -> StartedExperiment:
        """``start_run`` for ``with`` and as a decorator: ``@tracker.experiment("name")``."""
        return Started(functools.partial(self.start_run, name, run_name, **options))

    @staticmethod
    def _given() -> dict[str, str]:
        """The run that was made for this process, as ``mlflow run`` does it: that is the first one which it begins."""
        run_id = os.environ.get("MLFLOW_RUN_ID")
        return {GIVEN_RUN: run_id} if run_id and process.begun == 0 else {}

    def _key(self, place: ranks.Place, experiment: str, run_name: str | None, given: Mapping[str, str]) -> str:
        number = process.begins()
        if named := os.environ.get("TRACKING_RUN_KEY"):
            return named if number == 1 else f"{named}-{number}"
        if given:
            return f"mlflow-{given[GIVEN_RUN]}"
        if place.job is None or (place.rank is None and not ranks.is_batch_job()):
            return uuid.uuid4().hex
        key = ranks.run_key(place.job, experiment, run_name, str(number))
        return self._not_used(key, place) if place.job_is_parent else key

    def _not_used(self, key: str, place: ranks.Place) -> str:
        """A key that this rank has not had: nothing but a parent process says that ranks belong together.

        Each rank finds the same one, since each looks for its own files only.
        """
        for number in range(1, 10_000):
            tried = key if number == 1 else f"{key}-{number}"
            directory = run_directory(self._session.spool, tried)
            living = living_writers(directory)
            ranks_there = {
                read.record.rank
                for name in directory.segments()
                if name.number == 1 and name.writer not in living
                for read in _first(read_segment(directory, name))
                if isinstance(read.record, Opened)
            }
            if place.rank not in ranks_there:
                return tried
        return uuid.uuid4().hex

    def _parent_key(self, parent: Run | str | None, *, nested: bool) -> str | None:
        if isinstance(parent, Run):
            return parent.run_key
        if parent is not None:
            return parent
        open_runs = list(process.runs.values())
        return open_runs[-1].run_key if nested and open_runs else None


def _first(reads: Iterator[Any]) -> list[Any]:
    return [read for read in [next(reads, None)] if read is not None]


class Started(AbstractContextManager[_S], Generic[_S]):
    """What starts when the block is entered, or the decorated function called, and ends with it."""

    def __init__(self, start: Callable[[], _S]) -> None:
        self._start = start
        self._started: _S | None = None

    def __enter__(self) -> _S:
        self._started = self._start()
        return self._started

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._started is not None:
            self._started.__exit__(kind, error, where)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def tracked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with self._start():
                return function(*args, **kwargs)

        return tracked


StartedExperiment = Started[Run]


class _Tracker(ExperimentTracker):
    """The tracker that the environment configures, read when it is used first, so that an import reads nothing."""

    def __init__(self) -> None:
        self._ready = False

    def __getattr__(self, name: str) -> Any:
        if self.__dict__.get("_ready"):
            raise AttributeError(name)
        super().__init__(None)
        self._ready = True
        return getattr(self, name)


tracker = _Tracker()


def start_experiment(name: str, run_name: str | None = None, **options: Any) -> StartedExperiment:
    """A run of the experiment ``name``, for ``with`` and as a decorator.

    ::

        with start_experiment("my_experiment", "run_001") as exp:
            exp.log_metric("loss", 0.3, step=1)

    ``options`` are those of ``ExperimentTracker.start_run``.
    """
    return tracker.experiment(name, run_name, **options)
