"""What a back end is to a sender, and what its failures mean.

::

    BackendError
      Unavailable     try again later, with everything: it is away, or asks to wait
      Unauthorized    the credentials are refused: try again, slowly, and say so
      Rejected        these records will never be taken: halve them, and set aside the one that is to blame
      RunMoved        the run is another one there now, as the state says: send it all of it again
      RunGone         the run was deleted there: set aside all that is left of it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mlflow_monitoring_tracking.spool.records import Opened, Point


class BackendError(Exception):
    """A back end did not take something. The text is for people and holds no secret."""


class Unavailable(BackendError):  # noqa: N818 - says what the back end is
    """Nothing can be said of the records. ``retry_after`` are the seconds it asks for."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Unauthorized(BackendError):  # noqa: N818
    """It refuses the credentials."""


class Rejected(BackendError):  # noqa: N818
    """It refuses these records for good."""


class RunMoved(BackendError):  # noqa: N818
    """The run is another one there now, as ``RunState`` says; what was sent to the old one is to be sent again."""


class RunGone(BackendError):  # noqa: N818
    """It has no such run any more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One parameter or one tag."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A file, and its path among the run's artifacts."""

    file: Path
    path: str
    size: int


@dataclass(slots=True)
class RunState:
    """What a sender remembers of a run at one back end; kept in a file, so JSON only.

    ``run_id`` is the back end's own name of the run; None before it was made.
    """

    run_id: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


class Backend(Protocol):
    """One platform. Called by one thread at a time; every call may raise a ``BackendError``, none may wait for ever.

    Each call may be repeated with the same records after a failure or a kill: nothing may come twice from it.
    """

    @property
    def name(self) -> str:
        """What it is called in the configuration, in files, logs and metrics."""
        ...

    @property
    def max_points(self) -> int:
        """The most points of one call of ``log_points``."""
        ...

    def check(self) -> str:
        """Reach the platform, and say in a few words what was found."""
        ...

    def start(self, run: Opened, parent: RunState | None, state: RunState) -> None:
        """Find or make the run, and put its name into ``state``. Called once for each process that sends, too."""
        ...

    def resume(self, run: Opened, state: RunState) -> None:
        """The run, whose end was sent, goes on."""
        ...

    def log_points(self, run: Opened, state: RunState, points: Sequence[Point]) -> None:
        """Log values of metrics."""
        ...

    def log_params(self, run: Opened, state: RunState, params: Sequence[Pair]) -> None:
        """Log parameters."""
        ...

    def set_tags(self, run: Opened, state: RunState, tags: Sequence[Pair]) -> None:
        """Set tags; a later one of the same key wins."""
        ...

    def upload(self, run: Opened, state: RunState, upload: Upload) -> None:
        """Upload one file."""
        ...

    def end(self, run: Opened, state: RunState, status: str, end_ms: int) -> None:
        """Say that the run ended, and how. Comes after everything else."""
        ...

    def close(self) -> None:
        """Let go of connections. May be called twice."""
        ...
