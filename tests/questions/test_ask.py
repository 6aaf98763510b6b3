"""Questions have the same answers from a store and from a server over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from mlflow_monitoring_exporter.analysis import Every, compare_runs
from mlflow_monitoring_exporter.analysis.recommend import Answer
from mlflow_monitoring_exporter.core.directions.direction import Direction
from mlflow_monitoring_exporter.core.errors import QuestionError
from mlflow_monitoring_exporter.questions import Questions, Which, ask
from mlflow_monitoring_exporter.source.rest.api import MlflowApi
from tests.analysis.made import made
from tests.parts.mlflow_server import MlflowServer
from tests.parts.run_store import DAY, RunStore

VISION = Which(experiments=("vision",))


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("00000000000000000000000000000003", 2),
        ("resnet-3", 3),
        ("latest", 13),
        ("best:accuracy", 9),
        ("best:val/loss", 9),
        ("best:f1", 8),
        ("champion@churn", 3),
        ("1@churn", 2),
        ("v1@churn", 2),
        ("Production@churn", 2),
        ("production@churn", 2),
        ("nan", 10),
    ],
)
def test_a_run_is_what_is_meant(questions: Questions, store: RunStore, asked: str, place: int) -> None:
    assert questions.run(asked).run_id == store.runs[place]


def test_a_prefix_is_enough_where_it_is_one_run(questions: Questions, store: RunStore) -> None:
    assert questions.run(store.runs[7]).run_id == store.runs[7]
    with pytest.raises(QuestionError, match=r"0000 may be several runs: .* and more; say more of the id"):
        questions.run("0000")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("same", "same may be several runs: "),
        ("resnet", "no run has an id that begins with resnet, or that name; a run may also be latest, best:METRIC"),
        ("best:acuracy", "no run has a metric acuracy: did you mean accuracy?"),
        ("best:shapeless", "nothing tells whether more of shapeless is better: say so with --mode max or --mode min"),
        ("champion@chrun", "there is no registered model chrun: did you mean churn?"),
        ("chalenger@churn", "churn has no alias, version or stage chalenger"),
        ("3@churn", "version 3 of churn was not made by a run"),
        ('it\'s "both"', "it holds both kinds of quotes"),
    ],
)
def test_what_is_meant_by_nothing_is_told(questions: Questions, asked: str, said: str) -> None:
    with pytest.raises(QuestionError) as error:
        questions.run(asked)
    assert said in str(error.value)


def test_the_best_runs_are_the_best(questions: Questions, store: RunStore) -> None:
    best = questions.best_runs("accuracy", top_k=3)
    assert [run.run_id for run in best.runs] == [store.runs[9], store.runs[8], store.runs[7]]
    assert best.ranking.direction is Direction.MAX
    worst = questions.best_runs("accuracy", top_k=2, mode=Direction.MIN)
    assert [run.run_id for run in worst.runs] == [store.runs[12], store.runs[13]], "NaN is no value"
    some = questions.best_runs("accuracy", which=Which(tags={"team": "it's"}, where="metrics.accuracy < 0.7"))
    assert [run.run_id for run in some.runs] == [store.runs[at] for at in (6, 4, 2, 0)]
    lately = questions.best_runs("accuracy", which=Which(since_ms=3 * DAY, until_ms=5 * DAY))
    assert [run.run_id for run in lately.runs] == [store.runs[3], store.runs[2]]
    with pytest.raises(QuestionError, match="no run that is asked about has a finite value of accuracy"):
        questions.best_runs("accuracy", which=Which(where="metrics.accuracy > 5"))


def test_over_rest_two_requests_are_enough(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    call = MlflowApi.call

    def counted(self: MlflowApi, method: str, path: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(path)
        return call(self, method, path, fields)

    monkeypatch.setattr(MlflowApi, "call", counted)
    asking: list[Callable[[Questions], object]] = [
        lambda questions: questions.best_runs("accuracy", top_k=5),
        lambda questions: questions.run("resnet-3"),
        lambda questions: questions.run("latest"),
        lambda questions: questions.runs(VISION, limit=5),
    ]
    for question in asking:
        with ask(server.url) as questions:
            question(questions)
        assert asked == ["experiments/search", "runs/search"]
        asked.clear()


def test_experiments_are_names_patterns_or_ids(questions: Questions) -> None:
    def names(*asked: str) -> list[str]:
        return [each.name for each in questions.experiments(Which(experiments=asked))]

    assert set(names()) == {"Default", "vision", "tabular 🚀", "empty"}
    assert names("vis*") == names("vision") == names("1") == ["vision"]
    assert set(names("tab*", "empty")) == {"tabular 🚀", "empty"}
    for asked, said in (
        ("visoin", "did you mean vision?"),
        ("x*", "there are Default, empty, tabular"),
        ("99", "there are"),
    ):
        with pytest.raises(QuestionError) as error:
            names(asked)
        assert f"there is no experiment {asked}" in str(error.value)
        assert said in str(error.value)


def test_runs_are_compared_with_their_curves(questions: Questions, store: RunStore) -> None:
    found = questions.compare(["resnet-1", "resnet-8", "best:accuracy"], metrics=["accuracy"])
    assert [run.run_id for run in found.runs] == [store.runs[1], store.runs[8], store.runs[9]]
    assert (found.baseline, found.best_run) == (store.runs[1], store.runs[9])
    assert found.recommendation.answer is Answer.BETTER
    assert found.difference is not None
    assert (found.difference.basis, found.difference.counts) == ("curve", (8, 8))
    assert {row.key for row in found.params} == {"lr", "model", "seed"}
    assert found.experiments[found.runs[0].experiment_id] == "vision"


def test_runs_to_compare_may_be_chosen_by_a_filter(questions: Questions, store: RunStore) -> None:
    newest = questions.compare(which=VISION, limit=4)
    assert [run.run_id for run in newest.runs] == [store.runs[at] for at in (9, 8, 7, 6)]
    assert newest.ranking is not None
    assert newest.ranking.metric == "val/loss"
    best = questions.compare(which=VISION, metrics=["f1", "accuracy"], limit=3, baseline="resnet-0")
    assert [run.run_id for run in best.runs] == [store.runs[at] for at in (8, 5, 2, 0)]
    assert best.baseline == store.runs[0]
    with pytest.raises(QuestionError, match="no run is meant by that"):
        questions.compare(which=Which(experiments=("empty",)))


def test_history_by_day_and_week(questions: Questions, store: RunStore) -> None:
    days = questions.history("accuracy", which=VISION)
    assert [period.runs for period in days.periods] == [1] * 10
    assert [period.succeeded for period in days.periods[3:6]] == [1, 0, 1]
    assert days.periods[-1].best_run == store.runs[9]
    assert days.trend is not None
    assert days.trend.significant
    assert days.trend.slope == pytest.approx(1 / 40)
    weeks = questions.history(which=VISION, every=Every.WEEK)
    assert weeks.ranking is not None
    assert (weeks.ranking.metric, sum(period.runs for period in weeks.periods)) == ("val/loss", 10)
    nothing = questions.history(which=Which(experiments=("empty",)))
    assert (nothing.periods, nothing.ranking) == ((), None)
    with pytest.raises(QuestionError, match="did you mean accuracy"):
        questions.history("acuracy", mode=Direction.MAX)


def test_importance_looks_at_the_runs_that_have_the_metric(questions: Questions) -> None:
    found = questions.importance("val/loss", which=VISION)
    assert {param.key for param in found.params} == {"lr", "model", "seed"}
    assert found.runs == 10
    assert found.params[0].key in {"lr", "seed"}
    with pytest.raises(QuestionError, match="2 runs have a finite value of accuracy: fewer than 10"):
        questions.importance("accuracy", which=Which(experiments=("tab*",)))
    with pytest.raises(QuestionError, match="did you mean accuracy"):
        questions.importance("acuracy")


def test_lint_finds_what_is_there(questions: Questions, store: RunStore) -> None:
    report = questions.lint(now_ms=30 * DAY)
    found = {(finding.experiment, finding.rule): finding for finding in report.findings}
    assert (report.experiments, report.runs, report.with_curves) == (4, 14, 14)
    tabular = {rule for experiment, rule in found if experiment == "tabular 🚀"}
    assert {"no-seed", "no-commit", "no-dataset", "never-ended", "no-description", "no-owner"} <= tabular
    assert found["tabular 🚀", "never-ended"].run_ids == (store.runs[13],)
    assert not [rule for experiment, rule in found if experiment == "vision"]
    only = questions.lint(now_ms=30 * DAY, select=["never-ended"])
    assert [finding.rule for finding in only.findings] == ["never-ended"]


def test_files_are_listed_where_they_lie(questions: Questions, store: RunStore) -> None:
    run = questions.run(store.runs[12])
    assert questions.reader.artifacts(run) == [("model/weights.bin", 2 << 30)]
    assert questions.reader.artifacts(questions.run(store.runs[0])) == []
    found = questions.lint(now_ms=30 * DAY, select=["large-artifact"])
    assert [finding.evidence for finding in found.findings] == ["model/weights.bin has 2.0 GiB"]


def test_a_notebook_shows_tables_and_obeys_nothing(questions: Questions) -> None:
    shown = [
        questions.compare(["resnet-1", "resnet-9"])._repr_html_(),
        questions.best_runs("accuracy", top_k=2)._repr_html_(),
        questions.history("accuracy")._repr_html_(),
    ]
    for html in shown:
        assert "<table>" in html
    assert "Take resnet-9" in shown[0]
    assert "it&#x27;s" in compare_runs([made({"accuracy": 1.0}, name="<b>it's</b>")])._repr_html_()
    assert "<b>" not in compare_runs([made({"accuracy": 1.0}, name="<b>")])._repr_html_()
