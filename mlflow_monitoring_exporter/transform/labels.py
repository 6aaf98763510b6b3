"""Labels that the operator adds to the series of runs: a tag or a parameter each, and never too many values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlflow_monitoring_exporter.core.values import RunGauges
from mlflow_monitoring_exporter.prometheus.label_lengths import OF_SAMPLES, shortened

#: What a value becomes once there are too many different ones.
OTHER = "other"
_TAG, _PARAM = "tag.", "param."


class AddedLabels:
    """``add`` maps label names to ``tag.<name>`` or ``param.<name>``; no value has more than ``longest`` bytes."""

    def __init__(self, add: Mapping[str, str], *, longest: int = OF_SAMPLES) -> None:
        self._add = add
        self._longest = longest

    def __str__(self) -> str:
        return " ".join(f"{label}={origin}" for label, origin in self._add.items())

    @property
    def params(self) -> frozenset[str]:
        """The parameters that a source has to read."""
        return frozenset(origin.removeprefix(_PARAM) for origin in self._add.values() if origin.startswith(_PARAM))

    def of(self, tags: Mapping[str, str], params: Mapping[str, str]) -> dict[str, str]:
        """The labels of a run that has them."""
        found = {}
        for label, origin in self._add.items():
            source = params if origin.startswith(_PARAM) else tags
            if value := source.get(origin.partition(".")[2], ""):
                found[label] = shortened(value, self._longest)
        return found


def bounded(runs: Iterable[RunGauges], names: Sequence[str], most: int) -> dict[str, tuple[str, ...]]:
    """For each run id the values of these labels, of each at most ``most`` different ones.

    Those of the oldest runs stay, so that a series which is there keeps its labels when a run is added.
    """
    kept: list[set[str]] = [set() for _ in names]
    result = {}
    for run in sorted(runs, key=lambda run: (run.start_ms or 0, run.run_id)):
        values = []
        for name, known in zip(names, kept, strict=True):
            value = run.labels.get(name, "")
            if value and len(known) < most:
                known.add(value)
            values.append(value if value in known or not value else OTHER)
        result[run.run_id] = tuple(values)
    return result
