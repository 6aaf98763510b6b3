"""Every error of the product, grouped by what the caller does next.

::

    MonitoringExporterError
      ConfigError                 exit 78: every problem at once, with file, line and key
      SourceError
        SourceUnavailableError    not ready; the next poll tries again
        SourceRefusedError        not ready; a person must act (password, permission, wrong server)
        SourceResponseError       skip this item and count it
      ExportError
        RetryableExportError      try again later, honouring ``retry_after``
        UnauthorizedExportError   park: keep the queue, try again slowly, say so in readiness
        PermanentExportError      dead letter
        PartialExportError        acknowledge the rest, dead-letter ``rejected``
      StateError                  durable state cannot be used now
        StateRefusedError         not ready; a person must act (password, permission, no such database)
        StateExpelledError        this replica's lease expired; it rejoins
        StateFullError            stop reading, keep delivering, not ready
        StateCorruptError         the file is damaged

The text of an error is for people: what happened, where, what to do. It never holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.core.disclosure import shown_path
from mlflow_monitoring_exporter.core.foreign_text import escaped, one_line

#: Problems of one configuration that are shown.
SHOWN_PROBLEMS = 50
#: Characters of a key that are.
_LONGEST_KEY = 200


class MonitoringExporterError(Exception):
    """Root of the tree; catching it catches everything that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong with the configuration.

    ``where`` is ``config.yaml:12``, the name of an environment variable, or a command-line flag;
    ``key`` is the dotted path (``exporters.prod.endpoint``), empty for a whole file; what of it may be a secret is
    not kept.
    """

    where: str
    key: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", shown_path(self.key))

    def __str__(self) -> str:
        key = self.key if len(self.key) <= _LONGEST_KEY else f"{self.key[:_LONGEST_KEY]}..."
        text = ": ".join(part for part in (self.where, key, self.message) if part)
        # A key may be any text; a problem is one line.
        return escaped(text)


class ConfigError(MonitoringExporterError):
    """The configuration cannot be used. Carries every problem that was found, not only the first.

    Its text names SHOWN_PROBLEMS of them, and says how many more there are.
    """

    def __init__(self, problems: Sequence[ConfigProblem] | str) -> None:
        if isinstance(problems, str):
            problems = [ConfigProblem("", "", problems)]
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        more = len(self.problems) - len(lines)
        if more:
            lines.append(f"and {more} more {'problem' if more == 1 else 'problems'}")
        super().__init__("\n".join(lines))


class SourceError(MonitoringExporterError):
    """MLflow could not be read."""


class SourceUnavailableError(SourceError):
    """MLflow does not answer now (refused, timed out, 5xx). The next poll tries again."""


class SourceRefusedError(SourceError):
    """MLflow, or whatever answers in its place, will not serve us until an operator changes something."""


class SourceResponseError(SourceError):
    """One item could not be read (a run deleted meanwhile, a malformed record). Skip and count it."""


class QuestionError(MonitoringExporterError):
    """What was asked of MLflow's runs has no answer: a filter that is none, a run or a metric that is not there."""


class MissingExtraError(MonitoringExporterError):
    """``what`` needs packages that are not installed: those of an extra."""

    def __init__(self, what: str, extra: str, package: str | None = None) -> None:
        lacks = f" ({package} is missing)" if package else ""
        super().__init__(f"{what} needs pip install 'mlflow-monitoring-exporter[{extra}]'{lacks}")


class ExportError(MonitoringExporterError):
    """A payload was not delivered."""


class RetryableExportError(ExportError):
    """The same payload may succeed later.

    ``retry_after`` is the platform's own wish in seconds, if it named one; ``status`` that of an HTTP
    answer, if there was one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class UnauthorizedExportError(ExportError):
    """The platform refuses our credentials. Nothing is wrong with the payload."""


class PermanentExportError(ExportError):
    """This payload can never be delivered. ``status`` is that of an HTTP answer, if there was one.

    ``divisible`` says that a part of a batch may do better; the core looks for it then. ``rejected`` are the
    series of a snapshot, by their places, when the platform has the others.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        divisible: bool = True,
        rejected: Sequence[int] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.divisible = divisible
        self.rejected = None if rejected is None else tuple(rejected)


class PartialExportError(ExportError):
    """The platform took the batch except for the samples at the indexes ``rejected``."""

    def __init__(self, message: str, *, rejected: Sequence[int]) -> None:
        super().__init__(message)
        self.rejected = tuple(rejected)


class StateError(MonitoringExporterError):
    """The state database cannot be used."""


class StateRefusedError(StateError):
    """The state database will not serve us until an operator changes something."""


class StateExpelledError(StateError):
    """The other replicas have given this one up, as it was not heard of for too long. Join again."""


class StateFullError(StateError):
    """No more can be queued: the disk or the configured limit is full."""


class StateCorruptError(StateError):
    """The state file is damaged."""


def describe(error: BaseException) -> str:
    """An error on one line; one that is not ours begins with its type."""
    text = one_line(str(error))
    return text if isinstance(error, MonitoringExporterError) else f"{type(error).__name__}: {text}".rstrip(": ")
