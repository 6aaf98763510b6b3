"""One deployment in one process: what a request calls. Additions in memory, and a row put aside; nothing waits."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_monitoring_tracking.events import event
from mlflow_monitoring_tracking.features.observations import Chosen, Observations
from mlflow_monitoring_tracking.features.statistics import FeatureStatistics
from mlflow_monitoring_tracking.production.buckets import CONFIDENCE, LATENCY_MS, SCORE
from mlflow_monitoring_tracking.production.counts import Counts
from mlflow_monitoring_tracking.production.families import HISTOGRAMS, OTHER_CLASS, OUTCOMES, Served, key_of, parts_of
from mlflow_monitoring_tracking.production.journal import Journal, is_kept
from mlflow_monitoring_tracking.values import plain

#: What a latency in milliseconds and a score may be: beyond, it is a mistake that would spoil a sum for ever.
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Options:
    """What is watched of a deployment.

    :param features: which features are looked at.
    :param max_classes: how many predicted classes are counted for themselves.
    :param keep: the share of predictions that are kept for their truth, by a hash of the id.
    """

    features: Chosen = field(default_factory=Chosen)
    max_classes: int = 50
    keep: float = 1.0


class _Numbers:
    """The vectors of a deployment in the file of this process."""

    __slots__ = ("_counts", "_served", "classes", "confidence", "latency", "outcomes", "rejected", "score")

    def __init__(self, counts: Counts, served: Served) -> None:
        self._counts, self._served = counts, served
        self.outcomes = counts.vector(key_of("outcomes", served), len(OUTCOMES))
        self.latency = self._histogram("latency")
        self.confidence = self._histogram("confidence")
        self.classes: dict[Any, memoryview[float]] = {}
        self.score: memoryview[float] | None = None
        self.rejected: memoryview[float] | None = None

    def _histogram(self, what: str) -> memoryview[float]:
        return self._counts.vector(key_of(what, self._served), HISTOGRAMS[what].numbers)

    def of_class(self, label: str) -> memoryview[float]:
        return self._counts.vector(key_of("class", self._served, label), 1)

    def scores(self) -> memoryview[float]:
        self.score = self._histogram("score")
        return self.score

    def reject(self) -> None:
        if self.rejected is None:
            self.rejected = self._counts.vector(key_of("rejected", self._served), 1)
        self.rejected[0] += 1.0


class Deployment:
    """Safe for threads; a forked child counts in a file of its own (:meth:`forked`).

    :param counts: gives the file of this process; it is asked for by the first prediction.
    :param known_classes: gives the classes that other processes count, so that all count the same ones.
    """

    def __init__(
        self,
        served: Served,
        options: Options,
        counts: Callable[[], Counts],
        known_classes: Callable[[Served], list[str]],
        journal: Callable[[], Journal] | None = None,
    ) -> None:
        self.served = served
        self.options = options
        self.observations = Observations(options.features)
        self._counts, self._known_classes, self._journal = counts, known_classes, journal
        self.forked()

    def forked(self) -> None:
        """This is another process now, or the first one: nothing of its parent's memory is written to."""
        self._lock = threading.Lock()
        self._numbers: _Numbers | None = None
        self._labels: set[str] = set()
        self._warned: set[str] = set()
        self.observations.forget()
        self._next = itertools.count()
        # Which process and which prediction of it: unique without asking the system for randomness each time.
        self._prefix = f"{os.getpid():x}{uuid.uuid4().hex[:10]}"

    def log(
        self,
        prediction: Any,
        input_data: Any,
        confidence: float | None,
        latency_ms: float | None,
        error: object,
        *,
        prediction_id: str | None = None,
    ) -> str:
        """Count one prediction; its id."""
        at_ms = time.time_ns() // 1_000_000
        said = prediction_id or f"{self._prefix}-{at_ms:x}-{next(self._next):x}"
        try:
            with self._lock:
                numbers = self._numbers or self._open()
                if error is None or error is False:
                    numbers.outcomes[0] += 1.0
                else:
                    numbers.outcomes[1] += 1.0
                if latency_ms is not None or confidence is not None:
                    self._measure(numbers, latency_ms, confidence)
                if prediction is not None:
                    known = numbers.classes.get(prediction) if type(prediction) in _CLASSES else None
                    if known is not None:
                        known[0] += 1.0
                    else:
                        self._predicted(numbers, prediction)
                if input_data is not None:
                    self.observations.add(input_data, prediction)
            if prediction is not None and self._journal is not None:
                self._keep(self._journal(), said, at_ms, prediction)
        except Exception as trouble:  # noqa: BLE001 - whatever it is, the request goes on
            self._trouble(f"{type(trouble).__name__}: {trouble}")
        return said

    def _measure(self, numbers: _Numbers, latency_ms: float | None, confidence: float | None) -> None:
        if latency_ms is not None and 0.0 <= latency_ms < _LARGEST:
            numbers.latency[bisect_left(LATENCY_MS, latency_ms)] += 1.0
            numbers.latency[-1] += latency_ms
        elif latency_ms is not None:
            self._reject(numbers, "latency_ms", latency_ms)
        if confidence is not None and 0.0 <= confidence <= 1.0:
            numbers.confidence[bisect_left(CONFIDENCE, confidence)] += 1.0
            numbers.confidence[-1] += confidence
        elif confidence is not None:
            self._reject(numbers, "confidence", confidence)

    def _keep(self, journal: Journal, prediction_id: str, at_ms: int, prediction: Any) -> None:
        keep = self.options.keep
        if is_kept(prediction_id, keep):
            journal.prediction(self.served, keep, prediction_id, at_ms, prediction)

    def take(self) -> dict[str, FeatureStatistics]:
        """What was seen of features since the last call."""
        # A signal may have come in the middle of a prediction, on this very thread.
        if not self._lock.acquire(timeout=1.0):
            return {}
        try:
            return self.observations.take()
        finally:
            self._lock.release()

    def _predicted(self, numbers: _Numbers, prediction: Any) -> None:
        """A class that is new here, or a number; an array is neither."""
        if type(prediction) not in _CLASSES:
            prediction = plain(prediction)
        if type(prediction) in _CLASSES:
            vector = numbers.classes.get(prediction)
            if vector is None:
                vector = numbers.of_class(self._label(str(prediction)))
                if len(numbers.classes) < 100 * self.options.max_classes:
                    numbers.classes[prediction] = vector
            vector[0] += 1.0
        elif isinstance(prediction, float):
            score = numbers.score or numbers.scores()
            if -_LARGEST < prediction < _LARGEST:
                score[bisect_left(SCORE, prediction)] += 1.0
                score[-1] += prediction
            else:
                self._reject(numbers, "prediction", prediction)

    def _label(self, label: str) -> str:
        if label not in self._labels:
            if len(self._labels) >= self.options.max_classes or len(label) > 200:
                return OTHER_CLASS
            self._labels.add(label)
        return label

    def _open(self) -> _Numbers:
        self._labels.update(self._known_classes(self.served))
        self._numbers = _Numbers(self._counts(), self.served)
        return self._numbers

    def _reject(self, numbers: _Numbers, what: str, value: object) -> None:
        numbers.reject()
        self._trouble(f"{what} is {value!r:.60}: a number that is possible is needed", key=what)

    def _trouble(self, reason: str, key: str | None = None) -> None:
        if (key or reason) not in self._warned and len(self._warned) < 1000:
            self._warned.add(key or reason)
            event("value_skipped", logging.WARNING, deployment=self.served.deployment, key=key, reason=reason)


#: What is a class, and not a number that is predicted.
_CLASSES = frozenset({bool, int, str})


def known_classes(totals: Mapping[str, object], served: Served) -> list[str]:
    """The classes that are counted for themselves already."""
    found = (parts_of(key) for key in totals)
    return [more[0] for what, of, more in found if what == "class" and of == served and more[0] != OTHER_CLASS]
