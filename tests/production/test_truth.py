"""Truth that comes late: each label counts once, for the window of its prediction, whatever comes in between."""

from __future__ import annotations

import errno
import json
import math
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as scikit

from mlflow_monitoring_tracking.production import journal as journals
from mlflow_monitoring_tracking.production import truth, truth_shown
from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.journal import Journal, is_kept
from mlflow_monitoring_tracking.production.quality import of_confusion
from mlflow_monitoring_tracking.production.truth import Corrected, TruthStore
from mlflow_monitoring_tracking.spool.drafts import replace_json
from tests.parts.scaled import scaled
from tests.production.test_windows import HOUR, SECOND, SERVED, START, Machine

WINDOW = 15 * SECOND
DAY = 24 * HOUR


class Store:
    """A store, and the journals that it reads."""

    def __init__(self, here: Path) -> None:
        self.directory = here / "journal"
        self.path = here / "truth.db"
        self.truth = TruthStore(self.path, WINDOW)
        self.journal = Journal(self.directory)

    def predict(self, prediction_id: str, at_ms: int, prediction: Any, keep: float = 1.0) -> None:
        self.journal.prediction(SERVED, keep, prediction_id, at_ms, prediction)

    def read(self, now_ms: int) -> None:
        self.journal.flush()
        self.truth.read(self.directory, now_ms)

    def results(self) -> dict[str, int]:
        return {result: number for _, result, number in self.truth.state(START)["results"]}

    def corrected(self) -> list[Corrected]:
        found = self.truth.corrected(START + 30 * DAY)
        self.truth.told(found)
        return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_labels_that_are_late_repeated_unknown_or_expired_count_once_and_rightly(store: Store) -> None:
    for name in ("a", "b", "c", "d"):
        store.predict(name, START, "yes")
    store.journal.truth(SERVED.deployment, "a", START + 1, "yes")
    store.read(START + WINDOW)
    [first] = store.corrected()
    assert first == Corrected(SERVED, START + WINDOW, 0, first.values)
    assert (first.values["labels"], first.values["accuracy"]) == (1, 1)
    later = START + HOUR
    store.journal.truth(SERVED.deployment, "b", later, "no")  # an hour late
    store.journal.truth(SERVED.deployment, "b", later, "no")  # twice
    store.journal.truth(SERVED.deployment, "a", later, "no")  # another truth than the first
    store.journal.truth(SERVED.deployment, "unknown", later, "no")
    store.read(later)
    [second] = store.corrected()
    assert (second.served, second.end_ms, second.revision) == (SERVED, START + WINDOW, 1)
    assert (second.values["labels"], second.values["accuracy"]) == (2, 0.5)
    assert store.corrected() == []
    assert store.results() == {"joined": 1, "late": 1, "repeated": 2}
    store.read(later + 5 * 60 * SECOND)
    assert store.results()["unmatched"] == 1, "no process brought its prediction"
    store.journal.truth(SERVED.deployment, "c", START + 8 * DAY, "yes")
    store.read(START + 8 * DAY)
    assert store.results()["expired"] == 1
    store.journal.truth(SERVED.deployment, f"1f00-{START:x}-0", START + 8 * DAY, "yes")  # its id says when it was
    store.read(START + 8 * DAY)
    assert store.results() == {"joined": 1, "late": 1, "repeated": 2, "unmatched": 1, "expired": 2}


def test_truth_that_comes_before_its_prediction_waits_for_it(store: Store) -> None:
    store.journal.truth(SERVED.deployment, "a", START, 2.0)
    store.journal.truth(SERVED.deployment, "a", START, 2.0)
    store.read(START)
    store.predict("a", START - 5, 3.5)
    store.read(START + WINDOW)
    assert store.results() == {"joined": 1, "repeated": 1}
    [found] = store.corrected()
    assert (found.values["mae"], found.values["rmse"]) == (1.5, 1.5)


def test_what_is_not_kept_is_told_apart_from_what_is_unknown(store: Store) -> None:
    names = [f"id {number}" for number in range(2000)]
    kept = [name for name in names if is_kept(name, 0.1)]
    assert 130 < len(kept) < 270
    assert kept == [name for name in names if is_kept(name, 0.1)]
    assert all(is_kept(name, 0.2) for name in kept), "a larger share keeps them, too"
    for name in kept:
        store.predict(name, START, 1, 0.1)
    for name in names:
        store.journal.truth(SERVED.deployment, name, START, 1)
    store.read(START + WINDOW)
    assert store.results() == {"joined": len(kept), "not_kept": len(names) - len(kept)}


def test_no_more_are_kept_than_there_is_room_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "_MOST", 100)
    for number in range(300):
        store.predict(f"{number}", START + number, True)
    store.read(START + WINDOW)
    for number in range(300):
        store.journal.truth(SERVED.deployment, f"{number}", START + WINDOW, True)
    store.read(START + WINDOW)
    assert store.results() == {"joined": 100}
    store.read(START + WINDOW + 5 * 60 * SECOND)
    assert store.results() == {"joined": 100, "unmatched": 200}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1))
def test_quality_of_classes_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    actual, predicted = zip(*pairs, strict=True)
    found = of_confusion(Counter(pairs))
    precision, recall, score, _ = scikit.precision_recall_fscore_support(
        actual, predicted, average="macro", zero_division=0
    )
    assert found["accuracy"] == pytest.approx(scikit.accuracy_score(actual, predicted))
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((precision, recall, score))


def test_quality_of_numbers_is_that_of_scikit_learn(store: Store) -> None:
    chance = np.random.default_rng(1)
    predicted, actual = chance.normal(size=(2, 500))
    for number, (guess, right) in enumerate(zip(predicted, actual, strict=True)):
        store.predict(f"{number}", START, guess)
        store.journal.truth(SERVED.deployment, f"{number}", START, right)
    store.predict("wrong", START, math.nan)
    store.journal.truth(SERVED.deployment, "wrong", START, 1.0)
    store.read(START + WINDOW)
    [found] = store.corrected()
    assert found.values["mae"] == pytest.approx(scikit.mean_absolute_error(actual, predicted))
    assert found.values["rmse"] == pytest.approx(scikit.root_mean_squared_error(actual, predicted))
    assert store.results() == {"invalid": 1, "joined": 500}
    assert store.truth.state(START + HOUR)["quality"] == [[list(SERVED), found.values]]
    assert store.truth.state(START + 2 * DAY)["quality"] == []


class DeathError(Exception):
    """The leader dies here."""


def dies_in_the_middle(store: Store, after: int) -> None:
    """Read, and die when so many results were counted; then another one leads."""
    counts, kept = iter(range(after)), TruthStore._count

    def count(self: TruthStore, deployment: str, result: str) -> None:
        if next(counts, None) is None:
            raise DeathError
        kept(self, deployment, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TruthStore, "_count", count)
        with suppress(DeathError):
            store.read(START)
    store.truth.close()
    store.truth = TruthStore(store.path, WINDOW)


LABELS = st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["p", "t", "read", "die", "other"])), max_size=60)


@settings(max_examples=scaled(30, 500), deadline=None)
@given(LABELS)
def test_each_label_counts_once_whoever_reads_and_dies(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    store = Store(tmp_path_factory.mktemp("truth"))
    predicted: set[int] = set()
    told: Counter[int] = Counter()
    for number, what in steps:
        if what == "p" and number not in predicted:
            predicted.add(number)
            store.predict(f"{number}", START + number * WINDOW, number % 3)
        elif what == "t":
            told[number] += 1
            store.journal.truth(SERVED.deployment, f"{number}", START, number % 2)
        elif what == "other":  # another process goes on; this one's files are over
            store.journal.flush()
            store.journal.forget()
            store.journal = Journal(store.directory)
        elif what == "read":
            store.read(START)
        elif what == "die":
            dies_in_the_middle(store, number % 5)
    store.read(START)
    store.read(START + 5 * 60 * SECOND)
    results = store.results()
    joined = {number for number in told if number in predicted}
    assert results.get("joined", 0) + results.get("late", 0) == len(joined)
    assert results.get("repeated", 0) == sum(told.values()) - len(told)
    assert results.get("unmatched", 0) == len(told.keys() - predicted)
    windows = {found.end_ms: found.values["accuracy"] for found in store.corrected()}
    assert windows == {START + (number + 1) * WINDOW: number % 3 == number % 2 for number in joined}
    assert len(list(store.directory.glob("*"))) <= 1, "files that are over are removed once they are read"


def test_files_are_rotated_and_each_says_of_what_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "_LARGEST", 5000)
    other = Served("other", "m", "")
    for number in range(1000):
        store.journal.prediction(SERVED if number % 7 else other, 1.0, f"{number}", START, number)
    store.journal.flush()
    assert len(list(store.directory.iterdir())) > 3
    for number in range(1000):
        deployment = SERVED.deployment if number % 7 else "other"
        store.journal.truth(deployment, f"{number}", START, number)
    store.read(START + WINDOW)
    found = store.truth.state(START)["results"]
    assert found == [("other", "joined", 143), (SERVED.deployment, "joined", 857)]
    assert len(list(store.directory.iterdir())) <= 2


def test_a_disk_that_is_full_for_a_while_loses_nothing_that_fits_into_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store.predict("a", START, True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            store.journal.flush()
        patch.setattr(os, "write", lambda number, data: write(number, data[: len(data) // 2]))
        store.journal.flush()  # half of it, which is all that fits
    store.predict("b", START, True)
    store.journal.truth(SERVED.deployment, "b", START, True)
    store.read(START + WINDOW)
    assert store.results() == {"joined": 1}
    store.predict("c", START, True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for number in range(20_000):
            try:
                store.predict(f"x {number}", START, True)
            except OSError:
                continue
    assert len(store.journal._lines) < 10_000, "bounded"
    assert len(list(store.directory.iterdir())) <= 2, "and no file for each attempt"


def test_lines_that_are_damaged_or_of_another_kind_are_left_out(store: Store) -> None:
    store.predict("a", START, True)
    store.journal.flush()
    [path] = store.directory.iterdir()
    with path.open("a") as file:
        file.write('nonsense\n["t"]\n["t", 1, 2, 3, 4]\n{"t": 1}\n["p", "x"]\n\n["d", "only"]\n')
    store.journal.truth(SERVED.deployment, "a", START, True)
    store.read(START + WINDOW)
    assert store.results() == {"joined": 1}


def test_what_a_forked_child_writes_is_in_a_file_of_its_own(store: Store) -> None:
    store.predict("a", START, True)
    store.journal.flush()
    if (child := os.fork()) == 0:
        store.journal.forget()
        mine = Journal(store.directory)
        mine.truth(SERVED.deployment, "a", START, True)
        os._exit(0)
    os.waitpid(child, 0)
    assert len(list(store.directory.iterdir())) == 2
    store.read(START + WINDOW)
    assert store.results() == {"joined": 1}
    [left] = store.directory.iterdir()
    store.predict("b", START, True)
    store.journal.truth(SERVED.deployment, "b", START, True)
    store.read(START + WINDOW)
    assert store.results() == {"joined": 2}
    assert list(store.directory.iterdir()) == [left]


def test_trades_are_sums_wins_losses_and_the_largest_fall(store: Store, tmp_path: Path) -> None:
    for pnl in (10.0, -4.0, -3.0, 0.0, 5.0):
        store.journal.result("prod", START, {"pnl": pnl, "position_size": -100.0}, "id")
    store.journal.result("prod", START, {"return_pct": 1.0})
    store.read(START)
    replace_json(tmp_path / "truth.json", store.truth.state(START))
    found = {
        (family.name, dict(sample.labels).get("result")): sample.value
        for family in truth_shown.shown(tmp_path / "truth.json")
        for sample in family.samples
    }
    assert found == {
        ("mlflow_deployment_trades_total", "win"): 2,
        ("mlflow_deployment_trades_total", "loss"): 2,
        ("mlflow_deployment_trades_total", "flat"): 2,
        ("mlflow_deployment_trade_pnl", None): 8,
        ("mlflow_deployment_trade_max_drawdown", None): 7,
        ("mlflow_deployment_trade_exposure", None): 500,
    }
    assert truth_shown.shown(tmp_path / "none.json") == []
    (tmp_path / "truth.json").write_text(json.dumps({"quality": 3}))
    assert truth_shown.shown(tmp_path / "truth.json") == []


def test_the_window_of_a_prediction_is_corrected_in_the_run_of_its_day(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    journal = Journal(machine.place.journal)
    first = START + WINDOW
    journal.prediction(SERVED, 1.0, "a", START, "yes")
    journal.prediction(SERVED, 1.0, "b", START, "yes")
    journal.truth(SERVED.deployment, "a", START, "yes")
    machine.predict(2)
    machine.window()
    assert machine.runs.values("accuracy") == [], "others may not have written yet"
    machine.window()
    assert machine.runs.values("accuracy") == [1.0]
    machine.now += DAY
    machine.predict(1)
    machine.window()
    journal.truth(SERVED.deployment, "b", machine.now, "no")
    machine.window()
    yesterday, today = sorted(machine.runs.rows)
    rows = sorted(row for row in machine.runs.rows[yesterday] if row[0] == "accuracy")
    assert rows == [("accuracy", 0.5, first // WINDOW, first + 1), ("accuracy", 1.0, first // WINDOW, first)]
    assert machine.runs.ended == [yesterday, yesterday], "at midnight, and after the correction"
    assert not any(row[0] == "accuracy" for row in machine.runs.rows[today])
