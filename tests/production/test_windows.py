"""Windows: each count is in one of them, whatever becomes of leaders, and in the run of its day."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_tracking.production import feature_files, windows
from mlflow_monitoring_tracking.production.deployment import Deployment, Options
from mlflow_monitoring_tracking.production.drift_watch import FIRST
from mlflow_monitoring_tracking.production.families import Served
from mlflow_monitoring_tracking.production.places import ProductionDirectory
from mlflow_monitoring_tracking.production.processes import open_counts
from mlflow_monitoring_tracking.production.windows import Windows
from mlflow_monitoring_tracking.run import Run
from mlflow_monitoring_tracking.spool.drafts import replace_json
from tests.parts.scaled import scaled

SERVED = Served("prod", "pricing", "7")
START = 1_795_000_005_000
SECOND = 1000
HOUR = 3600 * SECOND


class Runs:
    """Keeps what is recorded, as MLflow does: the same row twice is one."""

    def __init__(self) -> None:
        self.rows: dict[str, set[tuple[str, float, int, int]]] = {}
        self.ended: list[str] = []

    def start(self, served: Served, day: str) -> Run:
        runs, name = self, f"{'/'.join(served)} {day}"

        class Recorded:
            def record_at(self, values: Mapping[str, float], step: int, time_ms: int) -> None:
                runs.rows.setdefault(name, set()).update((key, value, step, time_ms) for key, value in values.items())

            def end(self) -> None:
                runs.ended.append(name)

        return cast("Run", Recorded())

    def values(self, key: str) -> list[float]:
        """In order of their times."""
        rows = [row for run in self.rows.values() for row in run if row[0] == key]
        return [value for _, value, _, _ in sorted(rows, key=lambda row: row[3])]


class Machine:
    """A deployment's directory, with one process that serves and a leader."""

    def __init__(self, here: Path) -> None:
        self.place = ProductionDirectory.of(here)
        self.runs = Runs()
        self.counts = open_counts(self.place.counts)
        self.deployment = Deployment(SERVED, Options(), lambda: self.counts, lambda _: [])
        self.now = START
        self.lead()

    def lead(self) -> None:
        self.leader = Windows(self.place, 15.0, self.runs.start)

    def predict(self, number: int, **said: Any) -> None:
        for _ in range(number):
            self.deployment.log(*(said.get(name) for name in ("prediction", "row", "confidence", "latency", "error")))

    def window(self) -> None:
        self.now += 15 * SECOND
        if seen := self.deployment.take():
            feature_files.write(self.place.features, self.now, {SERVED: seen})
        self.leader.close(self.now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_window_has_rates_shares_and_quantiles(machine: Machine) -> None:
    machine.predict(100, latency=9.0, confidence=0.8, prediction="yes")
    machine.predict(50, latency=900.0, prediction="no")
    machine.predict(50, error="timeout", prediction=2.5)
    machine.window()
    (values,) = ({key: value for key, value, _, _ in run} for run in machine.runs.rows.values())
    assert values["predictions"] == 200
    assert values["errors"] == 50
    assert values["error_rate"] == 0.25
    assert values["predictions_per_second"] == pytest.approx(200 / 15)
    assert values["latency_ms_mean"] == pytest.approx((900 + 45_000) / 150)
    assert 5.6 < values["latency_ms_p50"] <= 10
    assert 560 < values["latency_ms_p95"] <= values["latency_ms_p99"] <= 1000
    assert values["confidence_mean"] == pytest.approx(0.8)
    assert values["score_mean"] == 2.5
    assert (values["class_share/yes"], values["class_share/no"]) == (0.5, 0.25)
    machine.window()
    assert machine.runs.values("predictions") == [200, 0]
    assert len(machine.runs.values("error_rate")) == 1, "nothing is no rate"


def test_a_window_is_closed_once_though_all_processes_wake_at_its_end(machine: Machine) -> None:
    """The leader closes it and dies, and the next one was waiting for the same end."""
    machine.predict(500)
    machine.window()
    machine.predict(500)
    machine.lead()
    machine.leader.close(machine.now)
    assert machine.runs.values("predictions") == [500]
    machine.window()
    assert machine.runs.values("predictions") == [500, 500]
    (run,) = machine.runs.rows.values()
    times = [time_ms for key, _, _, time_ms in run if key == "predictions"]
    assert len(set(times)) == 2, "two values of one instant would be one, if they are equal"


@contextmanager
def death(what: str, machine: Machine) -> Iterator[None]:
    """The leader of a machine dies where it would do this next; others of this process go on."""
    with pytest.MonkeyPatch.context() as patch:
        if what == "record":
            patch.setattr(machine.leader, "_record", _dies)
        else:
            kept, times = replace_json, iter(range(10))

            def replace(path: Path, value: Any) -> None:
                if path.is_relative_to(machine.place.path) and next(times) == int(what):
                    _dies()
                kept(path, value)

            patch.setattr(windows, "replace_json", replace)
        with pytest.raises(KeyboardInterrupt):
            yield


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


STEPS = st.one_of(st.integers(0, 7), st.sampled_from(["window", "leader", "record", "0", "1", "2"]))


@settings(max_examples=scaled(40, 500), deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_each_prediction_is_in_one_window_whoever_leads_and_dies(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    machine, predicted = Machine(tmp_path_factory.mktemp("machine")), 0
    for step in steps:
        if isinstance(step, int):
            machine.predict(step, latency=1.0)
            predicted += step
        elif step == "leader":
            machine.lead()
        elif step == "window":
            machine.window()
        else:
            with death(step, machine):
                machine.window()
            machine.lead()
    machine.window()
    assert sum(machine.runs.values("predictions")) == predicted


def test_a_day_has_a_run_of_its_own_and_silence_ends_it(machine: Machine) -> None:
    machine.predict(1)
    machine.window()
    machine.now += 24 * HOUR
    machine.predict(1)
    machine.window()
    first, second = sorted(machine.runs.rows)
    assert (first, second) == ("prod/pricing/7 2026-11-18", "prod/pricing/7 2026-11-19")
    assert machine.runs.ended == [first]
    rows = len(machine.runs.rows[second])
    machine.now += HOUR
    machine.window()
    assert len(machine.runs.rows[second]) == rows, "nothing was predicted for an hour"
    assert machine.runs.ended == [first, second]
    machine.predict(1)
    machine.window()
    assert len(machine.runs.rows[second]) > rows


def test_features_of_all_processes_are_one_and_drift_is_shown(machine: Machine) -> None:
    chance = random.Random(1)
    for shift in (0.0, 0.0, 5.0):
        for _ in range(FIRST // 2):
            machine.predict(1, row={"x": chance.gauss(shift, 1), "y": chance.choice("ab")})
        half = machine.deployment.take()
        feature_files.write(machine.place.features, machine.now + 15 * SECOND, {SERVED: half})
        for _ in range(FIRST // 2):
            machine.predict(1, row={"x": chance.gauss(shift, 1), "y": None})
        machine.window()
    machine.window()
    assert machine.runs.values("feature/y/missing_ratio") == [0.5, 0.5, 0.5]
    means = machine.runs.values("feature/x/mean")
    assert means == pytest.approx([0, 0, 5], abs=0.1)
    psi = machine.runs.values("feature/x/drift_psi")
    assert psi[0] < 0.05
    assert psi[1] > 1
    families = {family.name: family for family in feature_files.shown(machine.place.shown, machine.now)}
    score = {
        (dict(sample.labels)["feature"], dict(sample.labels)["method"]): sample.value
        for sample in families["mlflow_deployment_feature_drift_score"].samples
    }
    assert score["x", "psi"] == psi[1]
    assert score["y", "psi"] < 0.05
    assert feature_files.shown(machine.place.shown, machine.now + 301 * SECOND) == [], "too old to be now"
    machine.window()  # without features: what drifted is still known, and what is missing is not
    names = {family.name for family in feature_files.shown(machine.place.shown, machine.now)}
    assert names == {"mlflow_deployment_feature_drift_score", "mlflow_deployment_feature_drift_samples"}


def test_files_that_are_damaged_or_of_another_time_disturb_nothing(machine: Machine) -> None:
    machine.place.features.mkdir(parents=True)
    (machine.place.features / f"{machine.now}-1-a.json").write_text("[[")
    (machine.place.features / "notes.json").write_text("mine")
    (machine.place.features / f"{machine.now - 2 * HOUR}-1-a.json").write_text("[]")
    machine.place.window.write_text("{}")
    machine.lead()
    machine.predict(3)
    machine.window()
    assert machine.runs.values("predictions") == [3]
    assert [path.name for path in machine.place.features.iterdir()] == ["notes.json"]
