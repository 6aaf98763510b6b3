"""From facts to series: which there are, what they are called, and how many at most."""

from __future__ import annotations

import math
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.config.schema import GaugesConfig, MetricsConfig
from mlflow_monitoring_exporter.core.values import ModelVersion, RunGauges, RunStatus, Snapshot
from mlflow_monitoring_exporter.prometheus.exposition import Encoder
from mlflow_monitoring_exporter.prometheus.families import ANALYSIS, OURS
from mlflow_monitoring_exporter.transform.aggregates import Aggregate
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts, Facts, Gauges, RegistryFacts
from mlflow_monitoring_exporter.transform.labels import AddedLabels, bounded
from mlflow_monitoring_exporter.transform.model_versions import stages_by_run, tagged_stage
from tests.parts.gauges import all_series, metrics, of_family
from tests.parts.programs import need

EXPERIMENTS = {"1": ExperimentFacts("one", {RunStatus.FINISHED: 3}), "2": ExperimentFacts("two")}


def gauges(metrics: dict[str, object] | None = None, **config: object) -> Gauges:
    return Gauges(GaugesConfig.model_validate(config), MetricsConfig.model_validate(metrics or {}))


def run(run_id: str, values: dict[str, float], experiment_id: str = "1", **facts: object) -> RunGauges:
    status = RunStatus(str(facts.pop("status", "FINISHED")))
    given_facts = {"start_ms": 1000, "end_ms": 3500, "model_stage": "blue", **facts}
    return RunGauges(experiment_id, run_id, f"run {run_id[0]}", status, values=values, **given_facts)  # type: ignore[arg-type]


def test_two_keys_that_sanitise_alike_share_a_family_and_differ_in_a_label() -> None:
    snapshot = gauges().build(Facts(EXPERIMENTS, [run("a" * 32, {"val/acc": 1.0, "val acc": 2.0})]))
    assert of_family(snapshot, "mlflow_val_acc", "metric") == {("val/acc",): 1.0, ("val acc",): 2.0}


@given(st.permutations([run(f"{n:032x}", {"loss": float(n)}, str(n % 2 + 1)) for n in range(5)]))
def test_the_snapshot_does_not_depend_on_the_order_of_runs(runs: list[RunGauges]) -> None:
    one, other = (gauges().build(Facts(EXPERIMENTS, found)) for found in (runs, sorted(runs, key=lambda r: r.run_id)))
    assert one == other


def test_the_registry_decides_the_stage_before_any_tag() -> None:
    assert tagged_stage({"model_stage": "staging", "stage": "dev"}) == "staging"
    assert tagged_stage({"stage": "dev"}) == "dev"
    assert tagged_stage({}) == ""
    versions = [
        ModelVersion("m", 1, "a", "Production", ("champion", "blue")),
        ModelVersion("other", 1, "a", "", ("green",)),
        ModelVersion("m", 2, "b", "Staging", ()),
        ModelVersion("m", 3, "c", "", ()),
        ModelVersion("m", 4, "", "", ("nobody",)),
    ]
    assert stages_by_run(versions) == {"a": "blue,champion,green", "b": "Staging"}


@pytest.mark.parametrize("order", [1, -1])
def test_an_alias_of_one_version_goes_before_the_stage_of_another(order: int) -> None:
    versions = [ModelVersion("m", 1, "a", "Production", ()), ModelVersion("m", 2, "a", "", ("champion",))]
    assert stages_by_run(versions[::order]) == {"a": "champion"}


def test_a_run_shows_its_metrics_and_its_life() -> None:
    one = run(
        "abcdef0123456789" * 2,
        {"loss": 0.5, "bad": math.nan, "worse": -math.inf},
        status="RUNNING",
        end_ms=None,
        last_ms=2500,
        parent_run_id="p" * 32,
    )
    snapshot = gauges().build(Facts(EXPERIMENTS, [one], stalled=frozenset([one.run_id])))
    of_run = {"experiment_name": "one", "run_id": "abcdef01"}
    found = {name: (labels, value) for name, labels, value in all_series(snapshot) if "run_id" in labels}
    assert found.pop("mlflow_run_info") == (
        {
            **of_run,
            "experiment_id": "1",
            "run_uuid": one.run_id,
            "run_name": "run a",
            "status": "RUNNING",
            "model_stage": "blue",
            "parent_run_id": "p" * 32,
        },
        1.0,
    )
    assert found.pop("mlflow_loss") == ({**of_run, "model_stage": "blue", "metric": "loss"}, 0.5)
    assert math.isnan(found.pop("mlflow_bad")[1])
    assert found.pop("mlflow_worse")[1] == -math.inf
    assert found == {
        "mlflow_run_start_timestamp_seconds": (of_run, 1.0),
        "mlflow_run_duration_seconds": (of_run, 1.5),
        "mlflow_run_last_metric_timestamp_seconds": (of_run, 2.5),
        "mlflow_run_nonfinite_metrics": (of_run, 2.0),
        "mlflow_run_stalled": (of_run, 1.0),
        "mlflow_run_orphaned": (of_run, 0.0),
    }


def test_a_run_that_has_ended_is_not_judged() -> None:
    snapshot = gauges().build(Facts(EXPERIMENTS, [run("a" * 32, {})]))
    assert {name for name, labels, _ in all_series(snapshot) if "run_id" in labels} == {
        "mlflow_run_info",
        "mlflow_run_start_timestamp_seconds",
        "mlflow_run_duration_seconds",
        "mlflow_run_nonfinite_metrics",
    }


def test_an_experiment_shows_its_aggregates_and_every_status() -> None:
    facts = ExperimentFacts("one", {RunStatus.FAILED: 2}, [("loss", Aggregate(0.5, 0.75, 0.25, delta=-1.0))], 5500)
    snapshot = gauges().build(Facts({"1": facts}))
    found = of_family(snapshot, "mlflow_experiment_runs", "status")
    assert found == {(status.value,): 2.0 if status is RunStatus.FAILED else 0.0 for status in RunStatus}
    rest = {(name, tuple(labels.values()), v) for name, labels, v in all_series(snapshot) if "status" not in labels}
    assert rest == {
        ("mlflow_experiment_last_run_start_timestamp_seconds", ("one",), 5.5),
        ("mlflow_experiment_metric_latest", ("one", "loss"), 0.5),
        ("mlflow_experiment_metric_finished", ("one", "loss"), 0.75),
        ("mlflow_experiment_metric_best", ("one", "loss"), 0.25),
        ("mlflow_experiment_metric_delta", ("one", "loss"), -1.0),
    }


def test_models_show_who_stands_under_an_alias_and_how_good_that_is() -> None:
    versions = [
        ModelVersion("m", 1, "a" * 32, "", ("champion", "stable")),
        ModelVersion("m", 2, "b" * 32, "Archived", ()),
        ModelVersion("m", 3, "c" * 32, "", ()),
        ModelVersion("m", 4, "d" * 32, "", ()),
        ModelVersion("unused", 7, "", "", ()),
    ]
    values = {"a" * 32: {"loss": 0.5, "f1": 0.9, "old": 1.0}, "d" * 32: {"loss": 0.25, "f1": 0.8}}
    facts = RegistryFacts(versions, values, {("m", "champion"): 3})
    snapshot = gauges().build(Facts({}, registry=facts))
    assert of_family(snapshot, "mlflow_model_version_info", "model", "version", "alias", "stage", "run_id") == {
        ("m", "1", "champion", "", "a" * 8): 1.0,
        ("m", "1", "stable", "", "a" * 8): 1.0,
        ("m", "2", "", "Archived", "b" * 8): 1.0,
        ("m", "4", "", "", "d" * 8): 1.0,
        ("unused", "7", "", "", ""): 1.0,
    }
    champion = {
        labels[2:]: v
        for labels, v in of_family(snapshot, "mlflow_model_alias_metric", "model", "alias", "metric").items()
        if labels[1] == "champion"
    }
    assert champion == {("loss",): 0.5, ("f1",): 0.9, ("old",): 1.0}
    delta = of_family(snapshot, "mlflow_model_alias_metric_delta", "alias", "metric")
    assert delta["champion", "loss"] == -0.25, "the newest version has the lower loss"
    assert delta["champion", "f1"] == pytest.approx(0.1)
    assert ("champion", "old") not in delta
    assert of_family(snapshot, "mlflow_model_alias_changes_total", "model", "alias") == {("m", "champion"): 3.0}


def test_two_runs_that_share_eight_characters_are_two_series() -> None:
    runs = [run("abcdef01" + "0" * 24, {"loss": 1.0}), run("abcdef01" + "1" * 24, {"loss": 2.0}, "2")]
    snapshot = gauges().build(Facts(EXPERIMENTS, runs))
    assert of_family(snapshot, "mlflow_loss", "run_id") == {("abcdef010",): 1.0, ("abcdef011",): 2.0}


RUNS = [run(f"{n:032x}"[::-1], {"loss": n / 2, "f1": n / 4}, str(n % 2 + 1)) for n in range(6)]
WHOLE = gauges().build(Facts(EXPERIMENTS, RUNS)).series_count


@given(st.integers(1, WHOLE + 5))
def test_there_are_exactly_as_many_series_as_fit_and_the_first_stay_in(room: int) -> None:
    snapshot = gauges(max_series=room).build(Facts(EXPERIMENTS, RUNS))
    assert snapshot.series_count == min(room, WHOLE)
    assert snapshot.left_out == {"max_series": max(0, WHOLE - room), "same_labels": 0}
    less = gauges(max_series=room - 1 or 1).build(Facts(EXPERIMENTS, RUNS))
    everything = [(name, sorted(labels.items()), value) for name, labels, value in all_series(snapshot)]
    assert all((name, sorted(labels.items()), value) in everything for name, labels, value in all_series(less))


def test_a_snapshot_that_differs_only_in_what_is_left_out_is_another() -> None:
    made = gauges(labels={"drop": ["run_id", "model_stage"]})
    before = made.build(Facts(EXPERIMENTS, RUNS))
    after = made.build(Facts(EXPERIMENTS, [*RUNS, RUNS[-1]]), before)
    assert after.groups == before.groups
    assert after.left_out["same_labels"] > before.left_out["same_labels"]


def test_a_snapshot_that_differs_only_in_who_wants_most_is_another() -> None:
    made = gauges(max_series=20)

    def build(one: int, two: int, before: Snapshot | None = None) -> Snapshot:
        """Runs of two experiments with so many keys, of which the first ones are shown."""
        keys = {"1": one, "2": two}
        runs = [run(i * 32, {f"k{n:02}": 0.5 for n in range(count)}, i) for i, count in keys.items()]
        return made.build(Facts(EXPERIMENTS, runs), before)

    before = build(40, 30)
    after = build(30, 40, before)
    assert (after.groups, after.left_out) == (before.groups, before.left_out)
    assert ([one.experiment_id for one in before.most], [one.experiment_id for one in after.most]) == (["1"], ["2"])


def test_what_stays_the_same_stays_the_same_object() -> None:
    made = gauges()
    nan = run("e" * 32, {"nan": math.nan})
    before = made.build(Facts(EXPERIMENTS, [*RUNS, nan]))
    same = [*RUNS, run("e" * 32, {"nan": float("nan")})]
    assert made.build(Facts(EXPERIMENTS, same), before) is before
    added = made.build(Facts(EXPERIMENTS, [*same, run("f" * 32, {"loss": 9.0})]), before)
    assert added.groups["2"] is before.groups["2"]
    old = {family.name: family for family in before.groups["1"]}
    changed = {family.name for family in added.groups["1"] if family is not old[family.name]}
    assert changed == {
        "mlflow_loss",
        "mlflow_run_info",
        "mlflow_run_start_timestamp_seconds",
        "mlflow_run_duration_seconds",
        "mlflow_run_nonfinite_metrics",
    }


def test_labels_are_added_and_dropped_and_never_hold_more_values_than_allowed() -> None:
    teams: list[dict[str, str]] = [{}, {"team": "t1"}, {"team": "t2"}, {"team": "t3"}]
    runs = [run(f"{n}" * 32, {"loss": float(n)}, labels=teams[n], start_ms=9 - n) for n in range(4)]
    labels = {"add": {"team": "tag.team"}, "drop": ["experiment_name"], "max_values": 2}
    snapshot = gauges(labels=labels).build(Facts(EXPERIMENTS, list(reversed(runs))))
    found = [found for found, _ in metrics(snapshot)]
    assert all(set(labels) == {"run_id", "model_stage", "metric", "team"} for labels in found)
    assert [labels["team"] for labels in sorted(found, key=lambda f: f["run_id"])] == ["", "other", "t2", "t3"]
    info = of_family(snapshot, "mlflow_run_info", "run_id", "team", "experiment_name")
    assert ("22222222", "t2", "one") in info


@given(st.permutations(range(4)))
def test_the_oldest_runs_keep_their_values_in_whichever_order_they_come(order: list[int]) -> None:
    """Else a run that is added would rename series that are there."""
    begun = {0: 2000, 1: 1000, 2: 1000, 3: None}  # the last one's start is not known: it counts as old
    runs = [run(f"{n}" * 32, {"loss": 0.5}, labels={"team": f"t{n}"}, start_ms=begun[n]) for n in order]
    values = bounded(runs, ["team"], 2)
    assert {run_id[0]: team for run_id, (team,) in values.items()} == {"3": "t3", "1": "t1", "2": "other", "0": "other"}


def test_a_label_from_a_tag_is_cut_and_what_begins_alike_stays_apart() -> None:
    labels = AddedLabels({"team": "tag.team", "lr": "param.lr"}, longest=40)
    one, other = (labels.of({"team": "é" * 100 + end}, {"lr": "1" * 100 + end}) for end in "ab")
    assert all(len(value.encode()) <= 40 for value in (*one.values(), *other.values()))
    assert (one["team"] != other["team"], one["lr"] != other["lr"]) == (True, True)
    assert labels.of({"team": "x" * 40}, {}) == {"team": "x" * 40}
    whole = AddedLabels({"team": "tag.team"}).of({"team": "x" * 10_000}, {})
    assert len(whole["team"].encode()) == 2048, "what receives samples takes no more"


def test_of_series_that_become_the_same_the_most_important_stays() -> None:
    made = gauges(labels={"drop": ["run_id", "model_stage"]})
    snapshot = made.build(Facts(EXPERIMENTS, RUNS))
    assert of_family(snapshot, "mlflow_loss", "experiment_name") == {("one",): 0.0, ("two",): 0.5}
    assert snapshot.left_out["same_labels"] == 2 * (len(RUNS) - 2)


def test_generic_naming_keeps_every_key_apart() -> None:
    snapshot = gauges(naming="generic").build(Facts(EXPERIMENTS, RUNS[:1]))
    assert of_family(snapshot, "mlflow_run_metric", "metric") == {("loss",): 0.0, ("f1",): 0.0}


def test_every_family_of_ours_keeps_its_word() -> None:
    """What a spec says is what its series are, and nothing but specs and keys makes families."""
    everything = everything_there_is()
    specs = {spec.name: spec for spec in OURS if spec not in ANALYSIS}  # which are no part of a snapshot
    of_keys = {"mlflow_loss", "mlflow_f1"}
    for family in everything.families():
        if family.name not in of_keys and "metric" not in family.labels[3:]:
            spec = specs.pop(family.name)
            assert (family.help, family.type, family.labels) == (spec.help, spec.type, spec.labels)
    assert specs == {}, "every family is shown here"


def lint(text: bytes) -> str:
    """What promtool says."""
    done = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode()


def test_promtool_has_nothing_to_say_of_our_families() -> None:
    assert lint(Encoder().text(everything_there_is().families())) == ""


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), st.floats(), max_size=8))
def test_promtool_has_nothing_to_say_of_any_key_with_generic_naming(values: dict[str, float]) -> None:
    snapshot = gauges(naming="generic").build(Facts(EXPERIMENTS, [run("a" * 32, {**values, "latency_ms": 1.0})]))
    assert lint(Encoder().text(snapshot.families())) == ""


def everything_there_is() -> Snapshot:
    versions = [ModelVersion("m", 1, "a" * 32, "", ("champion",))]
    registry = RegistryFacts(versions, {"a" * 32: {"loss": 0.5}}, {("m", "champion"): 1})
    aggregate = Aggregate(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.5)
    one = run("b" * 32, {"loss": 0.5, "f1": 0.5}, status="RUNNING", last_ms=2000)
    daily = dict.fromkeys(("records", "expected_records", "duration_seconds", "quality/completeness"), 1.0)
    stage = {f"stage/load/{metric}": 1.0 for metric in ("records", "errors", "duration_seconds")}
    execution = run("c" * 32, daily | stage, experiment_id="2")
    experiments = {
        "1": ExperimentFacts("one", {}, [("loss", aggregate)], 1000),
        "2": ExperimentFacts("pipelines/daily", {}, [], 1000),
        "3": ExperimentFacts("rollouts/production/m", {}, [], 1000),
    }
    failed = run("d" * 32, {"lead_time_seconds": 1.0}, experiment_id="3", status="FAILED")
    again = run("e" * 32, {"rollback": 1.0}, experiment_id="3", start_ms=5000, end_ms=6000)
    return gauges().build(Facts(experiments, [one, execution, failed, again], registry=registry))


@pytest.mark.parametrize("letter", ["x", "é", "🚀"])
def test_no_label_and_no_name_is_longer_than_allowed_and_nothing_merges(letter: str) -> None:
    def build(longest: int) -> Snapshot:
        versions = [ModelVersion(long(f"m{n}"), 1, f"{n}" * 32, long(f"s{n}"), (long(f"a{n}"),)) for n in range(2)]
        values = {f"{n}" * 32: {long("k0"): 0.5, long("k1"): 0.5} for n in range(2)}
        registry = RegistryFacts(versions, values, {(long("m0"), long("a0")): 1})
        aggregates = [(long(f"k{n}"), Aggregate(0.5, best=0.5)) for n in range(2)]
        experiments = {f"{n}": ExperimentFacts(long(f"e{n}"), {}, aggregates, 10**12) for n in range(2)}
        runs = [
            run(
                f"{n}" * 32,
                values["0" * 32],
                f"{n}",
                status="RUNNING",
                parent_run_id=long(f"p{n}"),
                model_stage=long(f"s{n}"),
                labels={"team": long(f"t{n}")},
            )
            for n in range(2)
        ]
        made = gauges(labels={"add": {"team": "tag.team"}}, max_label_length=longest)
        return made.build(Facts(experiments, runs, registry=registry))

    def long(end: str) -> str:
        return letter * 1000 + end

    short, whole = build(200), build(100_000)
    assert short.series_count == whole.series_count
    for family in short.families():
        assert len(family.name) <= 200
        assert all(len(value.encode()) <= 200 for series in family.series for value in series.labels)
    texts = {value for family in whole.families() for series in family.series for value in series.labels}
    assert set(short.originals.values()) == {text for text in texts if len(text) > 200}
