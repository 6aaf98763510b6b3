"""Counts in memory that survive their processes: nothing is lost, nothing counted twice, and files stay few."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_tracking.production import processes
from mlflow_monitoring_tracking.production.counts import Counts, DamagedCountsError, added, read_counts
from mlflow_monitoring_tracking.production.processes import fold, open_counts, totals
from tests.tracking.conftest import environment

KEYS = st.text(max_size=40)
VECTORS = st.dictionaries(KEYS, st.lists(st.floats(0, 1e6), min_size=1, max_size=30), max_size=20)


@settings(max_examples=60, deadline=None)
@given(VECTORS)
def test_what_is_added_is_read_by_others_and_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, vectors: dict[str, list[float]]
) -> None:
    path = tmp_path_factory.mktemp("counts") / "a.counts"
    counts = Counts(path)
    for key, values in vectors.items():
        numbers = counts.vector(key, len(values))
        for at, value in enumerate(values):
            numbers[at] += value
    assert read_counts(path) == vectors
    counts.close()
    again = Counts(path)
    for key, values in vectors.items():
        assert list(again.vector(key, len(values))) == values
    again.close()


def test_a_file_grows_and_what_was_handed_out_goes_on_counting(tmp_path: Path) -> None:
    counts = Counts(tmp_path / "a.counts")
    first = counts.vector("first", 1)
    for number in range(300):
        counts.vector(f"key {number}", 100)[99] += number
    first[0] += 5
    found = read_counts(tmp_path / "a.counts")
    assert found["first"] == [5.0]
    assert found["key 299"][99] == 299.0
    assert counts.vector("first", 1) is first
    with pytest.raises(ValueError, match="first has 1 numbers, not 2"):
        counts.vector("first", 2)


@given(VECTORS, VECTORS)
def test_adding_is_the_same_in_any_order(one: dict[str, list[float]], other: dict[str, list[float]]) -> None:
    assert added(one, other) == added(other, one)
    assert added(one, {}) == one


@pytest.mark.parametrize("damage", [b"", b"short", b"X" * 64, b"TRKCNT1\0" + b"\xff" * 8])
def test_what_is_no_file_of_counts_is_told(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.counts"
    path.write_bytes(damage)
    with pytest.raises(DamagedCountsError):
        read_counts(path)


#: Counts as fast as it can; what it prints it has counted.
COUNTS = """
import sys
from pathlib import Path
from mlflow_monitoring_tracking.production.processes import open_counts
numbers = open_counts(Path(sys.argv[1])).vector("n", 2)
while True:
    numbers[0] += 1
    numbers[1] += 0.5
    if not numbers[0] % 100:
        print(int(numbers[0]), flush=True)
"""


def test_what_was_counted_before_a_kill_is_there_and_files_stay_few(tmp_path: Path) -> None:
    acknowledged, last = 0, 0.0
    for _ in range(8):
        command = [sys.executable, "-c", COUNTS, str(tmp_path)]
        started = [subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline()
        time.sleep(random.uniform(0, 0.05))
        now = totals(tmp_path)["n"][0]
        assert now >= last
        assert len(list(tmp_path.glob("*.counts"))) <= 4, "those that live, and those that died since the last look"
        for process in started:
            process.send_signal(signal.SIGKILL)
            acknowledged += int(process.communicate()[0].split()[-1] or 0)
        fold(tmp_path)
        last = totals(tmp_path)["n"][0]
        assert last >= acknowledged
    assert list(tmp_path.glob("*.counts")) == []
    count, halves = totals(tmp_path)["n"]
    assert count >= acknowledged
    assert abs(count / 2 - halves) <= 8, "a process dies between two additions at most"


def test_who_dies_while_folding_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (1.0, 2.0):
        counts = open_counts(tmp_path)
        counts.vector("n", 1)[0] += value
        counts.close()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _killed)
        with pytest.raises(KeyboardInterrupt):
            fold(tmp_path)
    assert len(list(tmp_path.glob("*.counts"))) == 2
    assert totals(tmp_path) == {"n": [3.0]}
    assert fold(tmp_path) == 2
    assert totals(tmp_path) == {"n": [3.0]}
    with monkeypatch.context() as patch:
        patch.setattr(processes, "_write_closed", _killed)
        counts = open_counts(tmp_path)
        counts.vector("n", 1)[0] += 4.0
        counts.close()
        with pytest.raises(KeyboardInterrupt):
            fold(tmp_path)
    assert totals(tmp_path) == {"n": [7.0]}


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_living_process_is_not_folded_and_a_file_without_a_word_is(tmp_path: Path) -> None:
    living = open_counts(tmp_path)
    living.vector("n", 1)[0] += 1
    (tmp_path / "1-dead.counts").write_bytes(b"")
    assert fold(tmp_path) == 1
    living.vector("n", 1)[0] += 1
    assert totals(tmp_path) == {"n": [2.0]}
    assert fold(tmp_path) == 0
    living.close()
    assert fold(tmp_path) == 1
    assert totals(tmp_path) == {"n": [2.0]}
