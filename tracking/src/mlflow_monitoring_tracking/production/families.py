"""What is counted, by its key in a file of counts, and how it is shown to Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from mlflow_monitoring_tracking.production.buckets import CONFIDENCE, LATENCY_MS, SCORE


class Served(NamedTuple):
    """Which version of which model a deployment serves; the labels of all its series."""

    deployment: str
    model: str
    version: str


#: The numbers of an entry of outcomes, in their order.
OUTCOMES = ("success", "error")
OTHER_CLASS = "other"
_LABELS = ("deployment", "model", "version")


@dataclass(frozen=True, slots=True)
class Histogram:
    """A family of histograms; ``unit`` is how many of what is counted make one of what is shown."""

    name: str
    help: str
    bounds: tuple[float, ...]
    unit: float = 1.0

    @property
    def numbers(self) -> int:
        """How many an entry has: one for each bucket, and the sum."""
        return len(self.bounds) + 2


#: By the first part of their keys.
HISTOGRAMS = {
    "latency": Histogram(
        "mlflow_deployment_prediction_latency_seconds", "How long predictions took.", LATENCY_MS, 1000.0
    ),
    "confidence": Histogram(
        "mlflow_deployment_prediction_confidence", "Confidence of predictions, from 0 to 1.", CONFIDENCE
    ),
    "score": Histogram("mlflow_deployment_prediction_score", "Predicted numbers.", SCORE),
}
PREDICTIONS = "mlflow_deployment_predictions_total"
CLASSES = "mlflow_deployment_class_total"
REJECTED = "mlflow_deployment_rejected_values_total"
_HELP = {
    PREDICTIONS: "Predictions by outcome: success or error.",
    CLASSES: "Predictions by predicted class; beyond the first ones they count as other.",
    REJECTED: "Latencies and confidences that were left out, because they are no such number.",
}


def key_of(what: str, served: Served, *more: str) -> str:
    """The key of an entry."""
    return json.dumps([what, *served, *more], ensure_ascii=False, separators=(",", ":"))


def parts_of(key: str) -> tuple[str, Served, tuple[str, ...]]:
    """What it counts, of what, and whatever else tells it from others.

    :raises ValueError: it is no such key.
    """
    what, deployment, model, version, *more = json.loads(key)
    return what, Served(deployment, model, version), tuple(more)


class Sample(NamedTuple):
    """One line of an exposition: what is appended to the family's name, labels, and the value."""

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(slots=True)
class Family:
    """A family as it is shown. ``type`` is counter, gauge or histogram; a counter's name ends in ``_total``."""

    name: str
    help: str
    type: str
    samples: list[Sample] = field(default_factory=list)

    def add(self, served: Served, value: float, **labels: str) -> None:
        """One more series."""
        self.samples.append(Sample("", (*zip(_LABELS, served, strict=True), *labels.items()), value))


def counted(totals: Mapping[str, Sequence[float]]) -> list[Family]:
    """The families of what was counted, each with its series in order."""
    counters = {name: Family(name, text, "counter") for name, text in _HELP.items()}
    histograms = {what: Family(kind.name, kind.help, "histogram") for what, kind in HISTOGRAMS.items()}
    for key, numbers in sorted(totals.items()):
        what, served, more = parts_of(key)
        if what == "outcomes":
            for outcome, number in zip(OUTCOMES, numbers, strict=False):
                counters[PREDICTIONS].add(served, number, outcome=outcome)
        elif what == "class":
            counters[CLASSES].add(served, numbers[0], **{"class": more[0]})
        elif what == "rejected":
            counters[REJECTED].add(served, numbers[0])
        elif what in histograms:
            histograms[what].samples.extend(_histogram(HISTOGRAMS[what], served, numbers))
    return [family for family in (*counters.values(), *histograms.values()) if family.samples]


def _histogram(kind: Histogram, served: Served, numbers: Sequence[float]) -> Iterator[Sample]:
    labels = tuple(zip(_LABELS, served, strict=True))
    counts = list(accumulate(numbers[:-1]))
    bounds = [*(f"{bound / kind.unit:g}" for bound in kind.bounds), "+Inf"]
    for bound, count in zip(bounds, counts, strict=True):
        yield Sample("_bucket", (*labels, ("le", bound)), count)
    yield Sample("_sum", labels, numbers[-1] / kind.unit)
    yield Sample("_count", labels, counts[-1])


def text(families: Iterable[Family]) -> str:
    """Prometheus' text format, version 0.0.4."""
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}\n# TYPE {family.name} {family.type}\n")
        for suffix, labels, value in family.samples:
            shown = ",".join(f'{name}="{_escaped(said, quote=True)}"' for name, said in labels)
            lines.append(f"{family.name}{suffix}{{{shown}}} {_number(value)}\n")
    return "".join(lines)


#: Of the text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _escaped(said: str, *, quote: bool = False) -> str:
    said = said.replace("\\", r"\\").replace("\n", r"\n")
    return said.replace('"', r"\"") if quote else said


def _number(value: float) -> str:
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(str(value), repr(float(value)))
