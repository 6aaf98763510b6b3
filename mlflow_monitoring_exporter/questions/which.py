"""Which experiments and runs a question is about."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.core.patterns import Patterns
from mlflow_monitoring_exporter.source.search import FoundExperiment
from mlflow_monitoring_exporter.source.search_filter import quoted

_GLOB = re.compile(r"[*?\[]")
#: Names that are suggested in place of one that is not there.
_NEAREST = 3


@dataclass(frozen=True, slots=True)
class Which:
    """All active runs, but for what is said.

    ``experiments`` are names, patterns of names (as in the configuration) or ids. ``where`` is MLflow's own search
    syntax; ``tags`` must be on a run, and it must have started at ``since_ms`` or later, and before ``until_ms``.
    """

    experiments: Sequence[str] = ()
    where: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    since_ms: int | None = None
    until_ms: int | None = None

    def condition(self) -> str:
        """All of it in MLflow's search syntax. Raises QuestionError for what that cannot hold."""
        parts = [self.where.strip()] if self.where.strip() else []
        parts += [f"tags.{quoted(key)} = {literal(value)}" for key, value in self.tags.items()]
        if self.since_ms is not None:
            parts.append(f"attributes.start_time >= {self.since_ms}")
        if self.until_ms is not None:
            parts.append(f"attributes.start_time < {self.until_ms}")
        return " AND ".join(parts)

    def of(self, experiments: Sequence[FoundExperiment]) -> list[FoundExperiment]:
        """Those that are meant. Raises QuestionError for a name that is none of them."""
        if not self.experiments:
            return list(experiments)
        names = [experiment.name for experiment in experiments]
        for asked in self.experiments:
            known = asked in names or any(experiment.experiment_id == asked for experiment in experiments)
            if not known and not (_GLOB.search(asked) and any(name in Patterns([asked]) for name in names)):
                raise QuestionError(f"there is no experiment {asked}{nearest(asked, names)}")
        patterns, exact = Patterns(self.experiments), frozenset(self.experiments)
        return [e for e in experiments if e.name in exact or e.experiment_id in exact or e.name in patterns]


#: All experiments, all runs.
EVERYTHING = Which()


def literal(value: str) -> str:
    """Text as a filter has it. Raises QuestionError for text that MLflow's syntax cannot hold."""
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise QuestionError(f"MLflow's search syntax cannot hold {value}: it holds both kinds of quotes")


def nearest(asked: str, known: Iterable[str]) -> str:
    """``: did you mean a or b?``, or what there is; for the end of a sentence about a name that is not there."""
    names = sorted(set(known))
    folded = {name.lower(): name for name in reversed(names)}
    close = [folded[name] for name in difflib.get_close_matches(asked.lower(), folded, _NEAREST, 0.6)]
    if close:
        return f": did you mean {' or '.join(close)}?"
    if not names:
        return ": there are none"
    more = f" and {len(names) - _NEAREST} more" if len(names) > _NEAREST else ""
    return f"; there are {', '.join(names[:_NEAREST])}{more}"
