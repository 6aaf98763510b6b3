from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_monitoring_exporter.config.schema import GaugesConfig, MetricsConfig
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, SampleConfig, SelectConfig
from mlflow_monitoring_exporter.core.sample_columns import GrowingColumns
from mlflow_monitoring_exporter.core.values import Point, RunContext, RunGauges, RunStatus, Snapshot
from mlflow_monitoring_exporter.transform.downsample import every, lttb
from mlflow_monitoring_exporter.transform.gauges import ExperimentFacts, Facts, Gauges
from mlflow_monitoring_exporter.transform.projection import SampleProjection, SnapshotProjection
from tests.exporters.samples import Shown, any_snapshot, of_runs
from tests.parts.gauges import all_series

values = st.lists(st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=200)


def curve(numbers: list[float]) -> list[Point]:
    return [Point("loss", step, 1_790_000_000_000 + step * 1000, value) for step, value in enumerate(numbers)]


@given(numbers=values, count=st.integers(2, 50))
def test_lttb_keeps_the_ends_what_is_not_finite_and_no_more_than_it_is_told(numbers: list[float], count: int) -> None:
    points = curve(numbers)
    kept = lttb(points, count)
    finite = [point for point in kept if math.isfinite(point.value)]
    assert [point for point in kept if not math.isfinite(point.value)] == [
        point for point in points if not math.isfinite(point.value)
    ]
    all_finite = [point for point in points if math.isfinite(point.value)]
    assert len(finite) == min(count, len(all_finite))
    assert finite[:1] == all_finite[:1]
    assert finite[-1:] == all_finite[-1:]
    assert [point.step for point in kept] == sorted({point.step for point in kept}), "in order, none twice"


@given(at=st.integers(0, 999), height=st.floats(1e-3, 1e9), count=st.integers(3, 100), up=st.booleans())
def test_lttb_keeps_the_one_point_that_stands_out(at: int, height: float, count: int, up: bool) -> None:
    numbers = [0.5] * 1000
    numbers[at] += height if up else -height
    assert at in {point.step for point in lttb(curve(numbers), count)}


@given(numbers=values, multiple=st.integers(2, 20), cut=st.integers(0, 200))
def test_every_does_not_depend_on_how_a_history_is_cut_but_for_the_last_of_each_part(
    numbers: list[float], multiple: int, cut: int
) -> None:
    points = curve(numbers)
    parts = [points[:cut], points[cut:]]
    ends = {part[-1].step for part in parts if part}
    whole = every(points, multiple)
    assert [p.step for p in whole] == [
        p.step
        for p in [point for part in parts for point in every(part, multiple)]
        if p.step % multiple == 0 or not math.isfinite(p.value) or p.step == len(points) - 1
    ]
    assert {p.step for part in parts for p in every(part, multiple)} >= ends


@pytest.mark.parametrize("sample", [SampleConfig(), SampleConfig(lttb=100)])
def test_samples_are_in_the_order_of_their_steps_and_of_one_step_in_that_of_their_times(sample: SampleConfig) -> None:
    points = [Point("loss", step, time, 0.5) for step, time in [(2, 5), (0, 9), (1, 7), (1, 3), (0, 8)]]
    projection = SampleProjection(BatchExporterConfig(type="any", sample=sample))
    samples = GrowingColumns()
    projection.add_to(samples, RunContext("server", "1", "one", "a" * 32, "run"), points, of=len(points))
    assert [(one.step, one.timestamp_ms) for one in samples] == [(0, 8), (0, 9), (1, 3), (1, 7), (2, 5)]


def test_only_one_way_of_thinning_out() -> None:
    with pytest.raises(ValidationError, match="either every or lttb"):
        SampleConfig(every=2, lttb=3)


@given(snapshot=any_snapshot, include=st.sampled_from(["*", "a*", "?", ""]), exclude=st.sampled_from(["", "*a", "??"]))
def test_a_snapshot_is_cut_to_what_is_selected(snapshot: Snapshot, include: str, exclude: str) -> None:
    config = SelectConfig.model_validate({"experiments": {"include": include}, "metrics": {"exclude": exclude}})
    view = SnapshotProjection(config)
    seen = view.of(snapshot)
    assert view.of(snapshot) is seen
    wanted = {
        (family.name, series.labels, repr(series.value))
        for family in snapshot.families()
        for series in family.series
        if _fits(series.labels[0], include) and not (exclude and _fits(series.labels[3], exclude))
    }
    assert {(f.name, s.labels, repr(s.value)) for f in seen.families() for s in f.series} == wanted
    assert seen.groups.keys() == snapshot.groups.keys(), "an experiment of which nothing is left is emptied"
    assert all(family.series for families in seen.groups.values() for family in families)


def _fits(text: str, pattern: str) -> bool:
    """The patterns of this test, without any library."""
    return {
        "*": True,
        "": False,
        "a*": text.startswith("a"),
        "?": len(text) == 1,
        "??": len(text) == 2,
        "*a": text.endswith("a"),
    }[pattern]


def test_what_stays_is_the_same_object_in_the_next_snapshot() -> None:

    first = of_runs(
        [Shown("1", "one", "a" * 8, "", {"loss": 1.0, "acc": 2.0}), Shown("2", "two", "b" * 8, "", {"x": 3.0})]
    )
    second = Snapshot({**first.groups, "2": of_runs([Shown("2", "two", "b" * 8, "", {"x": 4.0})]).groups["2"]})
    view = SnapshotProjection(SelectConfig.model_validate({"metrics": {"include": ["loss", "x"]}}))
    one, two = view.of(first), view.of(second)
    assert one.groups["1"][0] is two.groups["1"][0]
    assert [family.name for family in two.groups["1"]] == ["mlflow_loss"]
    assert two.groups["2"][0].series[0].value == 4.0
    everything = SnapshotProjection(SelectConfig())
    assert everything.of(first) is first


def test_a_gauge_is_selected_by_the_whole_name_however_it_is_shown() -> None:
    secret, other = "x" * 500 + " secret", "x" * 500 + " other"
    runs = [RunGauges(n, n * 32, "run", RunStatus.FINISHED, None, None, "", {"loss": 0.5}) for n in "12"]
    facts = Facts({"1": ExperimentFacts(secret), "2": ExperimentFacts(other)}, runs)
    snapshot = Gauges(GaugesConfig(), MetricsConfig()).build(facts)
    config = SelectConfig.model_validate({"experiments": {"exclude": ["* secret"]}})
    seen = {labels["experiment_name"] for _, labels, _ in all_series(SnapshotProjection(config).of(snapshot))}
    assert [snapshot.originals[name] for name in seen] == [other]
