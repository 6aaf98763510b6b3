"""Each habit is found once where it is, and nothing where there is none."""

from __future__ import annotations

import pytest

from mlflow_monitoring_exporter.analysis.lint import RULES, RunFacts, lint
from mlflow_monitoring_exporter.analysis.lint.findings import ExperimentFacts
from mlflow_monitoring_exporter.core.values import Run, RunStatus
from tests.analysis.made import made
from tests.analysis.test_compare import curve

HOUR, DAY = 3_600_000, 86_400_000
GOOD_TAGS = {"mlflow.source.git.commit": "abc", "mlflow.source.git.dirty": "false"}
GOOD_PARAMS = {"seed": "7", "epochs": "20"}
GOOD = {"val/loss": 0.5, "accuracy": 0.9}
OWNED = {"mlflow.note.content": "tries things", "owner": "me"}


def facts(run: Run, **more: object) -> RunFacts:
    return RunFacts(run, **{"now_ms": 10 * DAY, "has_dataset": True, "artifacts": [("model/a.bin", 10)], **more})  # type: ignore[arg-type]


def good(**more: object) -> Run:
    return made(**{"metrics": GOOD, "params": GOOD_PARAMS, "tags": GOOD_TAGS, **more})  # type: ignore[arg-type]


def found(*runs: RunFacts, tags: dict[str, str] | None = None, name: str = "e") -> list[str]:
    return [each.rule for each in lint([ExperimentFacts(name, OWNED if tags is None else tags, runs)])]


def test_nothing_is_found_where_all_is_well() -> None:
    steps = curve(*range(20))
    clean = [facts(good(), curves={"val/loss": steps, "accuracy": steps}) for _ in range(5)]
    assert found(*clean) == []
    assert found(tags={}) == [], "an experiment without runs may still be thought about"
    assert found(*clean, tags={}, name="Default") == []


def epochs_of(minutes: float) -> dict[str, object]:
    points = curve(*range(20))
    for at in range(20):
        points.times_ms[at] = int(at * minutes * 60_000)
    return {"train_loss": points}


BACK = curve(1, 2, 3)
BACK.steps[2] = 0
WITHOUT = curve(1, 2, 3)
for place in range(3):
    WITHOUT.steps[place] = 0

#: For each rule the runs of an experiment that has the habit, and in what words it is said.
HABITS = {
    "single-metric": ([facts(good(metrics={"accuracy": 1.0})) for _ in range(3)], "accuracy is the only metric"),
    "no-seed": ([facts(good(params={"lr": "1"}))], "named like a seed"),
    "no-commit": ([facts(good(tags={}))], "no tag mlflow.source.git.commit"),
    "dirty-commit": ([facts(good(tags={**GOOD_TAGS, "mlflow.source.git.dirty": "True"}))], "differed from the commit"),
    "no-dataset": ([facts(good(), has_dataset=False)], "no input of it"),
    "no-steps": ([facts(good(), curves={"val/loss": WITHOUT})], "val/loss has 3 values, all at step 0"),
    "steps-back": ([facts(good(), curves={"val/loss": BACK})], "at step 0 after step 1"),
    "params-changed": (
        [facts(good(params={**GOOD_PARAMS, "lr": "1"}, tags={**GOOD_TAGS, "tracking.conflict.lr": "2"}))],
        "lr was logged as 1 and later as 2",
    ),
    "never-ended": ([facts(good(status=RunStatus.RUNNING, start=DAY, end=None))], "logged nothing for 9 days"),
    "large-artifact": (
        [facts(good(), artifacts=[("a", 1), ("model/weights.bin", 3 << 30)])],
        "weights.bin has 3.0 GiB",
    ),
    "copied-artifact": (
        [facts(good(), artifacts=[(f"run{at}/vocab.txt", 5_000_000)]) for at in range(3)],
        "vocab.txt of 5.0 MB is there 3 times",
    ),
    "colliding-names": ([facts(good(metrics={**GOOD, "val loss": 1.0}))], "val loss and val/loss both become"),
    "once-per-epoch": (
        [facts(good(), curves=epochs_of(10))],
        "train_loss has 20 values for 20 epochs, 10 minutes apart",
    ),
}


@pytest.mark.parametrize("rule", HABITS)
def test_each_habit_is_found_and_no_other(rule: str) -> None:
    runs, words = HABITS[rule]
    [finding] = lint([ExperimentFacts("e", OWNED, runs)])
    assert finding.rule == rule
    assert words in finding.evidence
    assert (finding.found, finding.of) == (len(runs), len(runs))
    assert set(finding.run_ids) == {each.run.run_id for each in runs}
    assert finding.advice


def test_experiments_without_description_or_owner() -> None:
    assert found(facts(good()), tags={}) == ["no-description", "no-owner"]
    assert found(facts(good()), tags={"mlflow.note.content": " ", "team": "vision"}) == ["no-description"]


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == set(HABITS) | {"no-description", "no-owner"}


def test_rules_are_selected_and_ignored_by_name() -> None:
    bad = [ExperimentFacts("e", {}, [facts(good(params={}))])]
    assert [each.rule for each in lint(bad)] == ["no-seed", "no-description", "no-owner"]
    assert [each.rule for each in lint(bad, select=["no-seed"])] == ["no-seed"]
    assert [each.rule for each in lint(bad, ignore=["no-seed", "no-owner"])] == ["no-description"]
    with pytest.raises(ValueError, match="there is no rule no-sed, only single-metric"):
        lint(bad, select=["no-sed"])


def test_what_is_not_known_is_not_said() -> None:
    unknown = facts(good(tags=GOOD_TAGS), has_dataset=None, artifacts=None)
    assert found(unknown) == []
    assert found(facts(good(params={"seed": "1", "data_version": "3"}), has_dataset=False)) == []
    assert found(facts(good(), curves=epochs_of(1))) == []
