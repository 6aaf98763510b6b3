"""What a request calls: everything is counted once, whatever it is handed, by however many threads and processes."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_tracking.production.buckets import CONFIDENCE, LATENCY_MS, quantile
from mlflow_monitoring_tracking.production.deployment import Deployment, Options, known_classes
from mlflow_monitoring_tracking.production.families import Served, counted, key_of, parts_of
from mlflow_monitoring_tracking.production.processes import fold, open_counts, totals
from tests.parts.scaled import scaled

SERVED = Served("pricing prod", "pricing", "7")


def deployment(directory: Path, **options: Any) -> Deployment:
    counts = open_counts(directory)
    return Deployment(
        SERVED, Options(**options), lambda: counts, lambda served: known_classes(totals(directory), served)
    )


def number(directory: Path, what: str, *more: str) -> list[float]:
    return totals(directory).get(key_of(what, SERVED, *more), [])


def classes(directory: Path) -> dict[str, float]:
    found = ((parts_of(key), numbers) for key, numbers in totals(directory).items())
    return {more[0]: numbers[0] for (what, _, more), numbers in found if what == "class"}


LATENCIES = st.one_of(st.none(), st.floats(), st.integers(-5, 10**6))
CONFIDENCES = st.one_of(st.none(), st.floats(), st.floats(0, 1))
PREDICTIONS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.floats())


@settings(max_examples=scaled(60, 500), deadline=None)
@given(st.lists(st.tuples(PREDICTIONS, CONFIDENCES, LATENCIES, st.sampled_from([None, "timeout", ValueError("x")]))))
def test_every_call_is_counted_once_and_what_cannot_be_spoils_no_sum(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[Any, Any, Any, Any]]
) -> None:
    here = tmp_path_factory.mktemp("counts")
    made = deployment(here, max_classes=3)
    ids = [made.log(prediction, None, confidence, latency, error) for prediction, confidence, latency, error in calls]
    assert len(set(ids)) == len(calls)
    if not calls:
        return
    good = sum(error is None for *_, error in calls)
    assert number(here, "outcomes") == [good, len(calls) - good]
    latencies = [value for _, _, value, _ in calls if value is not None and 0 <= value < 1e15]
    *buckets, total = number(here, "latency")
    assert sum(buckets) == len(latencies)
    assert total == pytest.approx(math.fsum(latencies))
    for bound, count in zip(LATENCY_MS, np.cumsum(buckets), strict=False):
        assert count == sum(value <= bound for value in latencies)
    confidences = [value for _, value, _, _ in calls if value is not None and 0 <= value <= 1]
    *buckets, total = number(here, "confidence")
    assert sum(buckets) == len(confidences)
    assert total == pytest.approx(math.fsum(confidences))
    labels = [prediction for prediction, *_ in calls if type(prediction) in {bool, int, str}]
    found = classes(here)
    assert sum(found.values()) == len(labels)
    assert len(found) <= 4, "three, and other"
    wrong = len([value for _, _, value, _ in calls if value is not None]) - len(latencies)
    wrong += len([value for _, value, _, _ in calls if value is not None]) - len(confidences)
    wrong += sum(isinstance(prediction, float) and not -1e15 < prediction < 1e15 for prediction, *_ in calls)
    assert sum(number(here, "rejected")) == wrong


def test_classes_beyond_the_first_are_other_and_processes_agree_on_which(tmp_path: Path) -> None:
    first = deployment(tmp_path, max_classes=2)
    for label in "aabbbccd":
        first.log(label, None, None, None, None)
    second = deployment(tmp_path, max_classes=2)
    for label in "dcba":
        second.log(label, None, None, None, None)
    assert classes(tmp_path) == {"a": 3, "b": 4, "other": 5}


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.str_, np.bool_, lambda value: np.array([value])])
def test_values_of_numpy_are_what_they_hold(kind: Any, tmp_path: Path) -> None:
    made = deployment(tmp_path)
    made.log(kind(1), None, cast("float", np.float32(0.5)), np.float64(12), None)
    found = classes(tmp_path)
    scores = sum(number(tmp_path, "score")[:-1])
    assert sum(found.values()) + scores == 1
    assert "np" not in "".join(found)
    assert sum(number(tmp_path, "latency")[:-1]) == 1


@pytest.mark.parametrize(
    "call",
    [
        {"prediction": object()},
        {"prediction": np.zeros((3, 3))},
        {"input_data": object()},
        {"input_data": 7},
        {"input_data": {object(): object()}},
        {"input_data": {"a": {"b": [1]}, "c": np.zeros(3)}},
        {"input_data": []},
        {"input_data": {}},
        {"input_data": "text"},
        {"latency_ms": "fast"},
        {"confidence": "sure"},
        {"confidence": [0.5]},
        {"error": object()},
    ],
)
def test_whatever_it_is_handed_the_request_goes_on_and_the_prediction_counts(
    call: dict[str, Any], tmp_path: Path
) -> None:
    made = deployment(tmp_path)
    order = ("prediction", "input_data", "confidence", "latency_ms", "error")
    assert made.log(*(call.get(name) for name in order))
    assert sum(number(tmp_path, "outcomes")) == 1
    made.take()


def test_threads_lose_nothing(tmp_path: Path) -> None:
    made = deployment(tmp_path)
    ids: list[str] = []

    def predict() -> None:
        ids.extend(made.log("a", {"x": 1.0}, 0.5, 2.0, None) for _ in range(2000))

    threads = [threading.Thread(target=predict) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number(tmp_path, "outcomes") == [12_000, 0]
    assert classes(tmp_path) == {"a": 12_000}
    assert number(tmp_path, "latency")[-1] == 24_000
    assert len(set(ids)) == 12_000
    assert sum(one.count for name, one in made.take().items() if name == "x") == 12_000


def test_a_forked_child_counts_in_a_file_of_its_own(tmp_path: Path) -> None:
    opened: dict[int, Any] = {}

    def counts() -> Any:
        return (
            opened.setdefault(os.getpid(), None)
            or opened.update({os.getpid(): open_counts(tmp_path)})
            or (opened[os.getpid()])
        )

    made = Deployment(SERVED, Options(), counts, lambda _: [])
    parent = made.log("a", None, None, 1.0, None)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        for one in list(opened.values()):
            one.forget()
        made.forked()
        os.write(write, made.log("a", None, None, 1.0, None).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() != parent
    os.close(read)
    os.close(write)
    assert number(tmp_path, "outcomes") == [2, 0]
    assert fold(tmp_path) == 1, "the child's"
    made.log("a", None, None, 1.0, None)
    assert number(tmp_path, "outcomes") == [3, 0]


@given(st.lists(st.floats(0.2, 90_000), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_value(values: list[float], share: float) -> None:
    counts = [0.0] * (len(LATENCY_MS) + 1)
    for value in values:
        counts[next(place for place, bound in enumerate(LATENCY_MS) if value <= bound)] += 1
    found = quantile(LATENCY_MS, counts, share)
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    place = next(place for place, bound in enumerate(LATENCY_MS) if exact <= bound)
    assert found is not None
    assert (LATENCY_MS[place - 1] if place else 0) <= found * (1 + 1e-9)
    assert found <= LATENCY_MS[place] * (1 + 1e-9)
    assert quantile(LATENCY_MS, [0.0] * len(counts), share) is None
    assert quantile(CONFIDENCE, [0.0] * len(CONFIDENCE) + [1.0], share) == 1.0


def test_no_family_is_shown_without_series_and_counters_end_in_total(tmp_path: Path) -> None:
    assert counted({}) == []
    deployment(tmp_path).log("a", None, 0.5, 1.0, "x")
    found = counted(totals(tmp_path))
    assert {family.name for family in found if family.type == "counter"} == {
        "mlflow_deployment_predictions_total",
        "mlflow_deployment_class_total",
    }
    assert all(family.samples for family in found)
