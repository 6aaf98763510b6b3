"""The contract between a reader of MLflow and the poll.

::

    experiments() -> newest_active() -> runs() -> histories()
         all           the k to watch     pages     points of the series that changed

A reader only reads. It keeps no durable state, decides nothing about what is exported, and can be
called again after any error. It is used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlflow_monitoring_exporter.model import Experiment, Point, Run


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
    SourceRefusedError when it will not answer until somebody changes something (credentials,
    permission, address). One bad record raises SourceResponseError.
    """

    @property
    def server(self) -> str:
        """The server's identity, stable over restarts and free of secrets."""
        ...

    def check(self) -> None:
        """Make a real, cheap search: an open port or a health page proves little."""
        ...

    def experiments(self) -> Sequence[Experiment]:
        """Every active experiment."""
        ...

    def newest_active(self, experiment_ids: Sequence[str], limit: int) -> Sequence[str]:
        """The ``limit`` experiments with the newest activity, newest first.

        Activity is the start or the end of a run, whichever is later; experiments without runs
        come last, in the order given.
        """
        ...

    def runs(self, experiment_ids: Sequence[str]) -> Iterator[Sequence[Run]]:
        """Every active run of these experiments in pages of at most 1000, each run once.

        A run that starts while pages are read may be missing; none that was there at the start is.
        """
        ...

    def histories(self, series: Iterable[tuple[str, str]]) -> Iterator[HistoryChunk]:
        """All points of each series ``(run_id, key)``, series after series, in bounded chunks."""
        ...

    def stages(self) -> Mapping[str, str]:
        """What the model registry says of each run, by run id: its alias (several: sorted, joined
        by commas), else its stage. Runs without either are absent; so is everything when the
        server has no registry."""
        ...

    def close(self) -> None: ...
