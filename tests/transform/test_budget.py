"""There are never more series than ``gauges.max_series``, and who wants many takes none from the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.config.schema import GaugesConfig, MetricsConfig
from mlflow_monitoring_exporter.core.values import ModelVersion, RunGauges, RunStatus, Snapshot
from mlflow_monitoring_exporter.transform.aggregates import Aggregate
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts, Facts, Gauges, RegistryFacts
from tests.parts.gauges import all_series, of_family

BASICS = ("mlflow_experiment_runs", "mlflow_run_info", "mlflow_run_stalled", "mlflow_run_orphaned")


def gauges(room: int) -> Gauges:
    return Gauges(GaugesConfig(max_series=room), MetricsConfig())


def run(experiment: str, number: int, keys: int, status: str = "RUNNING") -> RunGauges:
    values = {f"key {at}": float(at) for at in range(keys)}
    run_id = f"{experiment}{number:07x}".ljust(32, "0")
    return RunGauges(experiment, run_id, "run", RunStatus(status), 10**12, None, "", values)


def facts(wanted: dict[str, list[int]], registry: RegistryFacts = RegistryFacts()) -> Facts:  # noqa: B008 - frozen
    """Of each experiment how many keys each of its runs has; each key has an aggregate, too."""
    experiments, runs = {}, []
    for experiment, keys in wanted.items():
        found = [run(experiment, number, count) for number, count in enumerate(keys)]
        runs += found
        count = Counter(key for one in found for key in one.values)
        metrics = [(key, Aggregate(0.5, mean=0.5)) for key in sorted(count)]
        counts = {RunStatus.RUNNING: len(found)}
        experiments[experiment] = ExperimentFacts(
            f"experiment {experiment}", counts, metrics, 10**12, count.__getitem__
        )
    return Facts(experiments, runs, registry=registry)


def sizes(snapshot: Snapshot) -> dict[str, int]:
    return {group: sum(len(family.series) for family in families) for group, families in snapshot.groups.items()}


def of(snapshot: Snapshot, experiment: str) -> set[tuple[str, tuple[str, ...]]]:
    return {(family.name, series.labels) for family in snapshot.groups[experiment] for series in family.series}


def test_one_run_with_ten_thousand_keys_takes_nothing_from_other_experiments() -> None:
    wanted = {str(number): [20, 20] for number in range(1, 9)} | {"9": [10_000]}
    snapshot = gauges(10_000).build(facts(wanted))
    alone = gauges(10**6).build(facts({number: keys for number, keys in wanted.items() if number != "9"}))
    assert {e: of(snapshot, e) for e in alone.groups} == {e: of(alone, e) for e in alone.groups}
    assert snapshot.series_count == 10_000, "what the others do not need is not wasted"
    assert of_family(snapshot, "mlflow_experiment_runs", "experiment_name", "status")["experiment 9", "RUNNING"] == 1.0
    assert len(of_family(snapshot, "mlflow_run_info", "run_id")) == 17
    ((experiment_id, name, wants),) = snapshot.most
    assert (experiment_id, name) == ("9", "experiment 9")
    assert wants - sizes(snapshot)["9"] == snapshot.left_out["max_series"]


def test_one_run_with_ten_thousand_keys_takes_nothing_from_the_other_runs_of_its_experiment() -> None:
    snapshot = gauges(2000).build(facts({"1": [10_000, *[20] * 20]}))
    by_run = of_family(snapshot, "mlflow_run_info", "run_id")
    assert len(by_run) == 21
    ordinary = [labels for name, labels, _ in all_series(snapshot) if name.startswith("mlflow_key_")]
    per_run = {run_id: sum(labels["run_id"] == run_id for labels in ordinary) for (run_id,) in by_run}
    assert sorted(per_run.values())[:20] == [20] * 20
    assert max(per_run.values()) > 20
    shared = {f"key {number}" for number in range(20)}
    assert shared <= {metric for (metric,) in of_family(snapshot, "mlflow_experiment_metric_latest", "metric")}


def test_a_champion_with_ten_thousand_keys_hides_no_other_model() -> None:
    versions = [ModelVersion(name, 1, name * 32, "", ("champion",)) for name in "ab"]
    values = {"a" * 32: {f"key {n}": 0.5 for n in range(10_000)}, "b" * 32: {"loss": 0.5}}
    changes = {(name, "champion"): 1 for name in "ab"}
    snapshot = gauges(500).build(facts({"1": [20]}, RegistryFacts(versions, values, changes)))
    assert snapshot.series_count == 500
    assert set(of_family(snapshot, "mlflow_model_version_info", "model")) == {("a",), ("b",)}
    assert set(of_family(snapshot, "mlflow_model_alias_changes_total", "model")) == {("a",), ("b",)}
    assert ("b", "loss") in of_family(snapshot, "mlflow_model_alias_metric", "model", "metric")
    assert len(of(snapshot, "1")) == len(of(gauges(500).build(facts({"1": [20]})), "1"))
    assert snapshot.most[0].experiment_id == ""


def test_while_there_is_room_for_all_none_wants_too_much() -> None:
    assert gauges(10_000).build(facts({"1": [20]})).most == ()


any_wanted = st.dictionaries(st.sampled_from("12345"), st.lists(st.integers(0, 12), max_size=5), min_size=1, max_size=5)


@settings(deadline=None)
@given(any_wanted, st.integers(1, 400), st.sampled_from("12345"), st.integers(0, 300))
def test_no_experiment_pushes_another_below_its_share(
    wanted: dict[str, list[int]], room: int, greedy: str, much: int
) -> None:
    whole = sizes(gauges(10**6).build(facts(wanted)))
    wanted = {**wanted, greedy: [*wanted.get(greedy, []), much]}
    snapshot = gauges(room).build(facts(wanted))
    assert snapshot.series_count <= room
    shown, share = sizes(snapshot), room // len(snapshot.groups)
    for experiment, wants in whole.items():
        if experiment != greedy:
            assert shown[experiment] >= min(wants, share)
    everything = gauges(10**6).build(facts(wanted))
    for experiment in wanted:
        of_basics = {one for one in of(everything, experiment) if one[0] in BASICS}
        missing = of_basics - of(snapshot, experiment)
        others = {one for one in of(snapshot, experiment) if one[0] not in (*BASICS, LAST_START)}
        assert not (missing and others), "what a run is comes before what it logged"


LAST_START = "mlflow_experiment_last_run_start_timestamp_seconds"


@settings(deadline=None)
@given(any_wanted, st.integers(1, 400))
def test_the_same_facts_show_the_same_series_and_the_same_objects(wanted: dict[str, list[int]], room: int) -> None:
    made = gauges(room)
    before = made.build(facts(wanted))
    assert made.build(facts(wanted), before) is before
    turned = facts(dict(reversed(wanted.items())))
    ordered = replace(turned, runs=facts(wanted).runs)
    assert gauges(room).build(ordered) == before


@settings(deadline=None)
@given(any_wanted, st.integers(1, 400))
def test_a_new_value_of_a_key_moves_no_series_in_or_out(wanted: dict[str, list[int]], room: int) -> None:
    before = facts(wanted)
    runs = [replace(one, values={key: value + 1 for key, value in one.values.items()}) for one in before.runs]
    shown, later = (gauges(room).build(one) for one in (before, replace(before, runs=runs)))
    assert {group: of(shown, group) for group in shown.groups} == {group: of(later, group) for group in later.groups}


@pytest.mark.parametrize("room", [1, 2, 7, 60])
def test_a_budget_that_is_too_small_for_the_basics_is_divided_all_the_same(room: int) -> None:
    snapshot = gauges(room).build(facts({str(n): [3] * n for n in range(1, 5)}))
    assert snapshot.series_count == room
    shown = [sizes(snapshot)[str(n)] for n in range(1, 5)]
    assert max(shown) - min(shown) <= 1
