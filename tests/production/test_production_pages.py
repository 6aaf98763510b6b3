"""What the pages about production say is so: each program runs, each metric, option and result is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from mlflow_monitoring_tracking import ProductionTracker
from mlflow_monitoring_tracking.features.baseline import features_of, write_baseline
from mlflow_monitoring_tracking.production import truth
from mlflow_monitoring_tracking.production.drift import LEAST
from mlflow_monitoring_tracking.production.drift_watch import FIRST
from mlflow_monitoring_tracking.production.exposition import families
from mlflow_monitoring_tracking.production.families import Family
from mlflow_monitoring_tracking.production.journal import Journal
from tests.docs.pages import rows, section
from tests.production.test_windows import SERVED, START, Machine
from tests.tracking.conftest import Programs

_DOCS = Path(__file__).parents[2] / "docs"
_GUIDE = (_DOCS / "how-to" / "monitor-models.md").read_text()
_METRICS = (_DOCS / "reference" / "metrics.md").read_text()
_PROGRAMS = re.findall(r"```python\n(.*?)```", _GUIDE, re.DOTALL)


@pytest.mark.parametrize("program", _PROGRAMS, ids=range(len(_PROGRAMS)))
def test_each_program_of_the_guide_runs(program: str, tmp_path: Path) -> None:
    Programs(tmp_path, {"TRACKING_MODE": "offline"}).run(program)


@pytest.fixture
def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Family]:
    """Every family that there is."""
    machine = Machine(tmp_path)
    baseline = features_of([{"x": float(number), "y": "ab"[number % 2]} for number in range(FIRST)], [True] * FIRST)
    truth_of = Journal(machine.place.journal)
    for latency in (1.0, float("nan")):
        for number in range(LEAST):
            machine.predict(1, row={"x": float(number), "y": "a"}, prediction=True, confidence=0.5, latency=latency)
    machine.predict(1, prediction=1.5, error="no")
    truth_of.prediction(SERVED, 1.0, "a", START, True)
    truth_of.truth(SERVED.deployment, "a", START, True)
    truth_of.prediction(SERVED, 1.0, "b", START, 1.5)
    truth_of.truth(SERVED.deployment, "b", START, 1.0)
    truth_of.result(SERVED.deployment, START, {"pnl": 1.0})
    write_baseline(machine.place.baseline(SERVED.deployment), baseline)
    for _ in range(2):
        machine.window()
    monkeypatch.setattr("mlflow_monitoring_tracking.production.exposition.now_ms", lambda: machine.now)
    return families(machine.place)


def test_each_family_is_in_the_reference_with_its_type_labels_and_words(everything: list[Family]) -> None:
    documented = rows(section(_METRICS, "Models in production"))
    assert {family.name for family in everything} == documented.keys()
    for family in everything:
        kind, unit, labels, meaning = documented[family.name]
        assert kind == family.type, family.name
        assert unit
        own = {label for sample in family.samples for label, _ in sample.labels} - {"model", "version", "le"}
        assert set(re.findall(r"`([^`]+)`", labels)) in (own, own - {"deployment"}), family.name
        words = {
            word
            for sample in family.samples
            for label, word in sample.labels
            if label in {"outcome", "method", "metric"}
        }
        assert [word for word in words if f"`{word}`" not in meaning] == [], family.name


def test_each_family_is_in_an_example(everything: list[Family]) -> None:
    blocks = "".join(re.findall(r"```promql\n(.*?)```", _METRICS, re.DOTALL))
    assert {family.name for family in everything} <= {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bmlflow_deployment_\w+", blocks)
    }


def test_each_option_is_in_the_guide_with_its_default() -> None:
    signature = inspect.signature(ProductionTracker.start_production_monitoring)
    documented = rows(_GUIDE[_GUIDE.index("| option of") : _GUIDE.index("`ProductionTracker(config)`")])
    options = {name: one for name, one in signature.parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert documented.keys() == options.keys()
    for name, one in options.items():
        if one.default not in ("", None):
            default = f'"{one.default}"' if isinstance(one.default, str) else str(one.default)
            assert documented[name][0] == f"`{default}`"


def test_each_result_of_truth_is_in_the_guide() -> None:
    documented = rows(_GUIDE[_GUIDE.index("| result in") :])
    assert documented.keys() == set(re.findall(r'_count\(deployment, "(\w+)"', inspect.getsource(truth))) | {
        "joined",
        "late",
    }
