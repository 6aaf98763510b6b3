"""After one export-once, every real platform answers with what MLflow holds: each run and key, value and time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.parts.otlp_receiver import Point, Receiver
from tests.platforms.conftest import Platforms, Row

Raw = Mapping[frozenset[tuple[str, str]], Sequence[tuple[int, float]]]


def test_everything_is_reported_as_delivered(platforms: Platforms) -> None:
    points = sum(map(len, platforms.store.truth().values()))
    assert points > 4000
    exporters = platforms.report["exporters"]
    assert isinstance(exporters, list)
    assert {one["name"]: (one["delivered"], one["waiting"], one["set_aside"]) for one in exporters} == dict.fromkeys(
        ("prometheus", "victoria", "influx", "otlp_http", "otlp_grpc"), (points, 0, 0)
    )


def check_series(platforms: Platforms, raw: Raw, *, nan: bool = True, **more: str) -> None:
    names = platforms.store.names()
    truth = platforms.store.truth()
    found = {}
    for labels, values in raw.items():
        by_name = dict(labels)
        found[by_name["run_id"], by_name["metric"]] = values
        assert by_name["experiment_name"] == names[by_name["run_id"]]
        assert by_name.keys() == {"__name__", "experiment_name", "job", "metric", "run_id", *more}
        assert {name: by_name[name] for name in more} == more
    assert found.keys() == truth.keys()
    for series, rows in truth.items():
        assert same(found[series], [row[1:] for row in rows if nan or not math.isnan(row.value)]), series


def same(found: Sequence[tuple[float, float]], wanted: Sequence[tuple[float, float]]) -> bool:
    """Equal, where NaN is NaN."""
    return len(found) == len(wanted) and all(
        a[0] == b[0] and (a[1] == b[1] or (math.isnan(a[1]) and math.isnan(b[1])))
        for a, b in zip(found, wanted, strict=True)
    )


def test_prometheus_has_every_value_at_its_time(platforms: Platforms) -> None:
    check_series(platforms, platforms.prometheus.raw('{job="mlflow_metrics"}'), cluster="a")


def test_victoria_metrics_has_every_value_at_its_time(platforms: Platforms) -> None:
    """It takes NaN for the lack of a value, and keeps none."""
    assert any(math.isnan(row.value) for rows in platforms.store.truth().values() for row in rows)
    check_series(platforms, platforms.victoria_metrics.raw('{job="mlflow_metrics"}'), nan=False)


def test_prometheus_answers_by_the_names_of_the_scrape_endpoint(platforms: Platforms) -> None:
    names = {dict(labels)["__name__"] for labels in platforms.prometheus.raw('{metric="val/loss"}')}
    assert names == {"mlflow_val_loss"}


def test_influxdb_has_every_value_and_step_at_its_time(platforms: Platforms) -> None:
    found: dict[tuple[str, str], list[Row]] = {}
    names = platforms.store.names()
    answered = platforms.influx.query(
        "SELECT value, step, nonfinite FROM mlflow GROUP BY run_id, metric, experiment_name", db="mlflow"
    )
    for series in answered:
        tags = series["tags"]
        assert tags["experiment_name"] == names[tags["run_id"]]
        rows = [
            Row(step, timestamp_ms, math.nan if nonfinite == "NaN" else value)
            for timestamp_ms, value, step, nonfinite in series["values"]
        ]
        found[tags["run_id"], tags["metric"]] = rows
    truth = platforms.store.truth()
    assert found.keys() == truth.keys()
    for key, rows in truth.items():
        assert [row[:2] for row in found[key]] == [row[:2] for row in rows]
        assert same(*([(row.timestamp_ms, row.value) for row in some] for some in (found[key], rows)))


def test_the_tags_of_a_run_are_tags_in_influxdb(platforms: Platforms) -> None:
    (keys,) = platforms.influx.query("SHOW TAG KEYS ON mlflow FROM mlflow")
    assert {"owner", "stage"} <= {name for (name,) in keys["values"]}


def check_points(platforms: Platforms, receiver: Receiver) -> list[Point]:
    points = receiver.points
    names = platforms.store.names()
    found = sorted((p.attributes["mlflow.run.id"], p.attributes["mlflow.metric.key"], p.time_ns) for p in points)
    truth = platforms.store.truth()
    assert found == sorted((*series, row.timestamp_ms * 1_000_000) for series, rows in truth.items() for row in rows)
    values = {(*series, row.timestamp_ms): row.value for series, rows in truth.items() for row in rows}
    for point in points:
        key, run_id = point.attributes["mlflow.metric.key"], point.attributes["mlflow.run.id"]
        assert same([(0, point.value)], [(0, values[run_id, key, point.time_ns // 1_000_000])])
        assert point.resource["mlflow.experiment.name"] == names[run_id]
        assert point.resource["service.name"] == "mlflow"
        assert point.resource["mlflow.server"].startswith("sqlite:")
        assert point.metric == f"mlflow.{key}"
        assert point.attributes["mlflow.run.name"]
    return points


def test_a_receiver_of_otlp_over_http_has_every_point_once(platforms: Platforms) -> None:
    points = check_points(platforms, platforms.otlp_http)
    truth = platforms.store.truth()
    steps = {(*series, row.timestamp_ms): row.step for series, rows in truth.items() for row in rows}
    for point in points:
        of = point.attributes["mlflow.run.id"], point.attributes["mlflow.metric.key"], point.time_ns // 1_000_000
        assert point.attributes["mlflow.step"] == steps[of]
        assert point.resource["deployment.environment"] == "test"
    assert any("mlflow.tag.owner" in point.attributes for point in points)
    assert any("mlflow.parent_run.id" in point.attributes for point in points)
    assert {headers["content-encoding"] for headers in platforms.otlp_http.headers} == {"gzip"}


def test_a_receiver_of_otlp_over_grpc_has_every_point_once(platforms: Platforms) -> None:
    points = check_points(platforms, platforms.otlp_grpc)
    assert not any("mlflow.step" in point.attributes for point in points)
