"""What one poll hands to the snapshot: not what there is, but what is not as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_monitoring_exporter.state.mirrored_registry import RegistryCopy


@dataclass(slots=True)
class Differences:
    """What is different since the last update that was whole.

    ``experiments`` are those that are watched now, names by id, and ``hints`` what their tags say of metrics
    (:func:`core.directions.direction.hints_of`); ``renewed`` says that either were others before. ``moved`` are
    runs that are new or not what they were, ``gone`` those that are not there any more, ``registry`` is the same
    object as before when it says the same. ``queued`` counts the samples of new runs, which were queued at once, by
    exporter. ``as_of_ms`` is when that was so, unless it is now.
    """

    experiments: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    renewed: bool = False
    moved: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    registry: RegistryCopy = field(default_factory=RegistryCopy)
    queued: Counter[str] = field(default_factory=Counter)
    as_of_ms: int | None = None

    @property
    def anything(self) -> bool:
        """Whether runs or experiments differ."""
        return bool(self.renewed or self.moved or self.gone)
