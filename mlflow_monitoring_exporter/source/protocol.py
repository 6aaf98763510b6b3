"""The contract between a reader of MLflow and the poll.

::

    experiments() -> activity() -> runs()      once for what is new: all runs, in pages
                                   changes()   every poll: runs that may have changed, since last time
                                   histories() points of the series that moved
                                   registry()  versions and aliases of registered models

A reader only reads. It keeps no durable state, decides nothing about what is exported, and can be
called again after any error. It is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_monitoring_exporter.core.values import Experiment, ModelVersion, Point, Run

#: How late another machine's clock may be without anything being missed until the sweep, in ms.
_OVERLAP_MS = 120_000


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, and the position behind which the next page begins; None behind the last page."""

    runs: Sequence[Run]
    position: str | None


@dataclass(frozen=True, slots=True)
class LastPoll:
    """What the poll knows from last time.

    ``watched`` are experiments whose runs were all read before; of ``others`` only the activity
    counts. ``since_ms`` is when the last poll began, by the clock of this machine, ``mark`` what
    the reader gave it then. ``open_runs`` had not ended.
    """

    watched: Sequence[str]
    others: Sequence[str]
    since_ms: int
    mark: str
    open_runs: Sequence[str]

    @property
    def lately_ms(self) -> int:
        """Whatever has a time after this may be new: times are set by other machines, whose clocks may be late."""
        return self.since_ms - _OVERLAP_MS


@dataclass(frozen=True, slots=True)
class Changes:
    """Some of what may have changed since the last poll.

    ``runs`` are runs to look at: those that have not ended, that ended or began lately, and
    whatever else the reader knows to have changed; some may belong to experiments that are not
    watched. ``gone`` are runs that were deleted. ``touched`` are series ``(run_id, key, step)`` with
    new points, none of which is below ``step``; their runs have come before. ``lost`` says that an
    exact reader has lost count: anything may be new.
    """

    runs: Sequence[Run] = ()
    gone: Sequence[str] = ()
    touched: Sequence[tuple[str, str, int]] = ()
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A series of which points are wanted: from ``from_step`` on (None: all), the latest is at ``last_step``."""

    run_id: str
    key: str
    from_step: int | None
    last_step: int


@dataclass(frozen=True, slots=True)
class HistoryChunk:
    """Some points of one series, in no promised order.

    ``complete`` is true on the last chunk of the series; a series without points has one empty
    chunk. When the run disappeared meanwhile, ``missing`` is true: there is nothing to read.
    """

    run_id: str
    key: str
    points: Sequence[Point]
    complete: bool
    missing: bool = False


class Source(Protocol):
    """A reader of one MLflow tracking server.

    Every method raises SourceUnavailableError when MLflow does not answer now, and
    SourceRefusedError when it will not answer until an operator changes something (credentials,
    permission, address). One bad record raises SourceResponseError.
    """

    @property
    def server(self) -> str:
        """The server's identity, stable over restarts and free of secrets: its name, or else its address."""
        ...

    @property
    def exact(self) -> bool:
        """Whether ``changes`` names every series with new points. If not, points that are logged late
        without becoming the latest are found by reading histories again."""
        ...

    @property
    def near(self) -> bool:
        """Whether histories cost no more than runs do, because the database itself is read."""
        ...

    def check(self) -> None:
        """Make a real, cheap search: an open port or a health page proves little."""
        ...

    def experiments(self) -> Sequence[Experiment]:
        """Every active experiment."""
        ...

    def activity(self, experiment_ids: Sequence[str], limit: int) -> Mapping[str, int]:
        """When something last happened in experiments, in ms: at least in the ``limit`` newest ones.

        Activity is the start or the end of a run, whichever is later.
        """
        ...

    def mark(self) -> str:
        """The reader's own cursor as it stands now, for a later ``changes``."""
        ...

    def runs(self, experiment_ids: Sequence[str], *, after: str | None = None, limit: int = 1000) -> Iterator[RunPage]:
        """Every active run of these experiments in pages of at most ``limit``, each run once.

        ``after`` is a position of an earlier page: what came before it is left out, and a few runs
        may come again. A run that starts while pages are read may be missing; none that was there
        at the start is.
        """
        ...

    def changes(self, last: LastPoll) -> Iterator[Changes]:
        """What may have changed since the last poll, in bounded parts, for the price of what did."""
        ...

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]:
        """All wanted points of each series, in bounded chunks; points that are not wanted may be among them."""
        ...

    def logged_once(self, run_ids: Sequence[str]) -> Mapping[str, int]:
        """Those of these runs whose metrics all have one point, with how many metrics that are; none is always right.

        Of them the latest points are the histories. Runs often log a result once, at their end.
        """
        ...

    def named(self, experiment_ids: Sequence[str], run_ids: Sequence[str]) -> Iterator[Run]:
        """Those of these runs that are active in one of these experiments."""
        ...

    def registry(self, *, refresh: bool = True) -> Sequence[ModelVersion]:
        """Every version of every registered model, sorted; nothing when the server has no registry.

        Without ``refresh`` only what a cheap question tells to have changed is read again: the same
        object means that nothing has.
        """
        ...

    def cut(self) -> None:
        """End what is under way, from another thread, as far as it can be; to be called once ``stop`` is set."""
        ...

    def close(self) -> None: ...
