"""Against a real InfluxDB 1, and a server that reads what version 2 would."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import PermanentExportError, RetryableExportError
from mlflow_monitoring_exporter.core.values import Batch, RunContext, Sample
from mlflow_monitoring_exporter.exporters.builtin.influx import InfluxConfig, InfluxExporter
from tests.exporters.samples import any_sample, batch
from tests.parts.bad_server import answer, bad_server
from tests.parts.receivers import Influx, influxdb

RUN = RunContext("server", "1", "churn", "a" * 32, "run", {"owner": "me"})
#: What a nanosecond of InfluxDB can say, in milliseconds.
FIRST, LAST = -9_223_372_036_854, 9_223_372_036_854


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with influxdb(tmp_path_factory.mktemp("influx")) as running:
        yield running


def send(url: str, payload: Batch, **config: Any) -> None:
    made = InfluxExporter(InfluxConfig.model_validate({"type": "influx", "url": url, "database": "mlflow", **config}))
    try:
        made.check()
        made.export(payload, deadline=Deadline.after(5))
    finally:
        made.close()


numbers = count()


@settings(max_examples=40)
@given(sample=any_sample.filter(lambda s: FIRST <= s.timestamp_ms <= LAST))
def test_whatever_mlflow_holds_a_real_influxdb_has(influx: Influx, sample: Sample) -> None:
    run_id = f"{next(numbers):032x}"
    sample = replace(sample, run=replace(sample.run, run_id=run_id))
    send(influx.url, Batch("b", 0, [sample]))
    (series,) = influx.query(f"SELECT * FROM mlflow WHERE run_id = '{run_id}'", db="mlflow")
    found = dict(zip(series["columns"], series["values"][0], strict=True))
    assert (found["time"], found["step"]) == (sample.timestamp_ms, sample.step)
    if math.isfinite(sample.value):
        assert float(found["value"]) == sample.value
    else:
        assert found["nonfinite"] == {math.inf: "+Inf", -math.inf: "-Inf"}.get(sample.value, "NaN")
    tags = {**sample.run.tags, "experiment_name": sample.run.experiment_name, "metric": sample.key}
    for name, value in tags.items():
        if name in ("time", "step", "value", "nonfinite") or not (name and value):
            continue
        plain_name, plain = (cleaned(text) for text in (name, value))
        assert found[plain_name] == plain


def cleaned(text: str) -> str:
    for character in "\\\r\n\0":
        text = text.replace(character, "_")
    return text


def test_values_of_one_time_are_all_kept(influx: Influx) -> None:
    samples = [Sample(RUN, "loss", step, 1_790_000_000_000, step / 2) for step in range(3)]
    send(influx.url, Batch("b", 0, samples), measurement="same")
    (series,) = influx.query("SELECT step, value FROM same", db="mlflow")
    assert series["values"] == [[1_790_000_000_000 + step, step, step / 2] for step in range(3)]


def test_a_database_that_is_not_there_is_waited_for(influx: Influx) -> None:
    with pytest.raises(RetryableExportError, match="database not found"):
        send(influx.url, batch(), database="nothing")


def test_a_point_that_it_cannot_hold_is_refused(influx: Influx) -> None:
    with pytest.raises(PermanentExportError, match="400"):
        send(influx.url, Batch("b", 0, [Sample(RUN, "loss", 0, 2**53, 1.0)]))


def test_version_2_has_another_address_and_another_way_to_say_the_token() -> None:
    with bad_server(answer(204)) as server:
        send(server.url, batch(), database=None, org="the org", bucket="mlflow/raw", token="s3cret")
    check, request = server.requests
    parts = urlsplit(request.path)
    assert parts.path == "/api/v2/write"
    assert parse_qs(parts.query) == {"org": ["the org"], "bucket": ["mlflow/raw"], "precision": ["ms"]}
    assert request.headers["authorization"] == "Token s3cret"
    assert (check.path, check.body) == (request.path, b"")


@pytest.mark.parametrize(
    "keys",
    [{}, {"org": "a"}, {"bucket": "a"}, {"database": "a", "org": "b", "bucket": "c"}, {"database": "a", "org": "b"}],
)
def test_one_version_or_the_other(keys: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"either database .* or org and bucket"):
        InfluxConfig.model_validate({"type": "influx", "url": "http://a", **keys})


def test_points_from_the_future_have_the_time_when_they_were_read(influx: Influx) -> None:
    read_ms = 1_790_000_000_000
    times = [read_ms - 5, read_ms * 1000, read_ms * 10**6]
    samples = [Sample(RUN, "loss", step, at, step / 2) for step, at in enumerate(times)]
    send(influx.url, Batch("b", read_ms, samples), measurement="future")
    (series,) = influx.query("SELECT step, value FROM future", db="mlflow")
    assert series["values"] == [[read_ms - 5, 0, 0.0], [read_ms, 1, 0.5], [read_ms + 1, 2, 1.0]]


def test_a_run_whose_tags_are_longer_than_a_series_may_be_is_written(influx: Influx) -> None:
    run = replace(RUN, tags={f"tag {n}": f"{n}" + "x" * 8000 for n in range(10)})
    send(influx.url, Batch("b", 0, [Sample(run, "loss", 0, 1_790_000_000_000, 0.5)]), measurement="long")
    (series,) = influx.query("SELECT * FROM long", db="mlflow")
    assert "value" in series["columns"]


RESERVED = ("time", "_field", "_measurement", "_time", "_value", "_start", "_stop", "value", "step", "nonfinite")


@pytest.mark.parametrize("name", RESERVED)
def test_a_tag_that_influxdb_reserves_arrives_under_another_name(influx: Influx, name: str) -> None:
    run = replace(RUN, run_id=f"{next(numbers):032x}", tags={name: "theirs", "owner": "me", f"tag_{name}": "taken"})
    send(influx.url, Batch("b", 0, [Sample(run, "loss", 3, 1_790_000_000_000, 0.5)]), measurement="reserved")
    (series,) = influx.query(f"SELECT * FROM reserved WHERE run_id = '{run.run_id}'", db="mlflow")
    found = dict(zip(series["columns"], series["values"][0], strict=True))
    assert (found["time"], found["step"], found["value"]) == (1_790_000_000_000, 3, 0.5)
    assert (found["owner"], found[f"tag_{name}"], found[f"tag_tag_{name}"]) == ("me", "taken", "theirs")
    assert name not in found or name in ("time", "step", "value", "nonfinite")


def test_version_2_never_sees_a_reserved_tag() -> None:
    tags = {**dict.fromkeys(RESERVED, "x"), "ti\\me": "y", "_mea\nsurement": "z"}
    sample = Sample(replace(RUN, tags=tags), "loss", 3, 1_790_000_000_000, 0.5)
    with bad_server(answer(204)) as server:
        send(server.url, Batch("b", 0, [sample]), database=None, org="acme", bucket="mlflow")
    keys = {pair.partition("=")[0] for pair in server.requests[-1].body.decode().split(" ")[0].split(",")[1:]}
    assert not keys & set(RESERVED)
    assert {f"tag_{name}" for name in RESERVED} | {"ti_me", "_mea_surement"} <= keys


def test_the_reason_of_a_refusal_keeps_its_end_where_the_cause_stands(influx: Influx) -> None:
    samples = [Sample(RUN, "loss", step, -(2**62), 0.5) for step in range(200)]
    with pytest.raises(PermanentExportError, match=r"(?s)^http.* \.\.\. .*time outside range") as caught:
        send(influx.url, Batch("b", 0, samples))
    assert len(str(caught.value)) < 500
