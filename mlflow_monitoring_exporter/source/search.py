"""The contract between a reader of MLflow and the questions that people ask of its runs.

::

    experiments()    every active experiment with its tags, and how many runs it has
    runs()           runs that meet a filter, best or newest first, with as much of each as is needed
    values()         of all such runs one metric, in little memory
    artifacts()      the files of a run
    keys()           which metrics runs have, for the nearest names of one that is unknown

A poll reads what changed of everything (:mod:`~mlflow_monitoring_exporter.source.protocol`); a search reads all
of a little.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_monitoring_exporter.core.values import ModelVersion, Run, RunStatus, RunValue
from mlflow_monitoring_exporter.source.protocol import HistoryChunk, Wanted


@dataclass(frozen=True, slots=True)
class FoundExperiment:
    """An active experiment. ``runs`` is how many active ones it has by status; None where only reading all would tell.

    ``last_ms`` is when a run began or ended last, None where that is not known.
    """

    experiment_id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created_ms: int | None = None
    runs: Mapping[RunStatus, int] | None = None
    last_ms: int | None = None

    @property
    def active_ms(self) -> int | None:
        """When something last happened, as far as is known: when it was made, where runs were not looked at."""
        return self.created_ms if self.runs is None else self.last_ms


@dataclass(frozen=True, slots=True)
class Parts:
    """How much of a run is read: of metrics, parameters and tags all (None), or those with these keys."""

    metrics: frozenset[str] | None = None
    params: frozenset[str] | None = None
    tags: frozenset[str] | None = None


#: Files of one run that are listed.
FILES = 1000

#: Everything that MLflow has of a run but its histories.
WHOLE = Parts()


@dataclass(frozen=True, slots=True)
class Order:
    """By the latest value of a metric, the largest first if ``descending``; NaN and nothing come last."""

    metric: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Search:
    """Which active runs, in which order, and how many of them.

    ``where`` is MLflow's own search syntax, empty for all. Without ``order`` the newest start comes first; runs
    that are equal otherwise come newest first, then by id.
    """

    experiment_ids: Sequence[str]
    where: str = ""
    order: Order | None = None
    limit: int | None = None


class RunReader(Protocol):
    """Answers questions about the runs of one MLflow tracking server.

    Every method raises SourceError as :class:`~mlflow_monitoring_exporter.source.protocol.Source` does, and
    QuestionError when ``where`` is not a filter.
    """

    @property
    def server(self) -> str:
        """The server's name, or else its address, without secrets."""
        ...

    def experiments(self, *, counted: bool = True) -> Sequence[FoundExperiment]:
        """Every active experiment; without ``counted`` perhaps without numbers of runs and times."""
        ...

    def runs(self, search: Search, parts: Parts = WHOLE) -> Iterator[Run]:
        """The runs, of which only ``parts`` are read. Those that end or begin meanwhile may be missing."""
        ...

    def values(self, search: Search, metric: str) -> Iterator[RunValue]:
        """Of each run that meets the filter the latest value of ``metric``, in any order and without limit."""
        ...

    def keys(self, experiment_ids: Sequence[str]) -> Sequence[str]:
        """Keys of metrics that runs of these experiments have, sorted: all, or those of the newest runs."""
        ...

    def histories(self, wanted: Iterable[Wanted]) -> Iterator[HistoryChunk]: ...

    def artifacts(self, run: Run) -> Sequence[tuple[str, int]] | None:
        """Path and bytes of the files of a run, at most FILES of them; None where they cannot be listed from here."""
        ...

    def registry(self) -> Sequence[ModelVersion]: ...

    def close(self) -> None: ...
