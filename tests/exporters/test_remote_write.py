"""What Prometheus' own compliance suite asks of a sender, and what is ours: times in the future, and late ones.

Of that suite (github.com/prometheus/compliance) these cases have no meaning for something that scrapes nothing:
counters, histograms, summaries, ``up``, the labels of targets, stale markers and exemplars.
"""

from __future__ import annotations

import math
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    PartialExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.plausible_times import EARLIEST_MS
from mlflow_monitoring_exporter.core.values import Batch, RunContext, Sample
from mlflow_monitoring_exporter.exporters import lateness
from mlflow_monitoring_exporter.exporters.builtin.remote_write import RemoteWriteConfig, RemoteWriteExporter
from mlflow_monitoring_exporter.exporters.write_request import WriteRequest, encode_v1
from mlflow_monitoring_exporter.prometheus.timeseries import AHEAD, Dated, spread, to_series
from tests.exporters.samples import any_sample, batch
from tests.parts.bad_server import answer
from tests.parts.prometheus_server import Prometheus, prometheus
from tests.parts.write_receiver import V2, WriteReceiver, write_receiver

NOW = 1_790_000_000_000
RUN = RunContext("http://mlflow", "1", "churn", "a" * 32, "brave-fox", {"owner": "me"})


@pytest.fixture(scope="module")
def both() -> Iterator[WriteReceiver]:
    with write_receiver("v1", "v2") as receiver:
        yield receiver


@pytest.fixture
def old() -> Iterator[WriteReceiver]:
    with write_receiver("v1") as receiver:
        yield receiver


@pytest.fixture
def new() -> Iterator[WriteReceiver]:
    with write_receiver("v1", "v2") as receiver:
        yield receiver


def exporter(url: str, **config: Any) -> RemoteWriteExporter:
    return RemoteWriteExporter(RemoteWriteConfig.model_validate({"type": "remote_write", "url": url, **config}))


def points(*times: int, key: str = "loss", read_ms: int = NOW) -> Batch:
    """A batch of points whose values are their places."""
    samples = [Sample(RUN, key, step, at, float(step)) for step, at in enumerate(times)]
    return Batch("b" * 32, read_ms, samples)


def send(made: RemoteWriteExporter, payload: Batch) -> None:
    made.export(payload, deadline=Deadline.after(5))


def test_headers(old: WriteReceiver) -> None:
    made = exporter(old.url, protocol="v1", headers={"X-Scope-OrgID": "team-a"}, username="me", password="secret")
    send(made, batch())
    (request,) = old.requests
    assert request.method == "POST"
    assert request.headers["content-encoding"] == "snappy"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert request.headers["user-agent"].startswith("mlflow-monitoring-exporter/")
    assert request.headers["x-scope-orgid"] == "team-a"
    assert request.headers["authorization"].startswith("Basic ")


def test_headers_of_2_0(new: WriteReceiver) -> None:
    send(exporter(new.url), batch())
    (request,) = new.requests
    assert request.headers["content-type"] == V2
    assert request.headers["content-encoding"] == "snappy"
    assert request.headers["x-prometheus-remote-write-version"] == "2.0.0"


def test_a_gauge_has_its_name_labels_and_time(new: WriteReceiver) -> None:
    sample = Sample(RUN, "val/loss", 7, NOW + 123, 0.25)
    send(exporter(new.url, labels={"cluster": "a", "zone": ""}), Batch("b", NOW + 123, [sample]))
    (series,) = new.series
    assert dict(series.labels) == {
        "__name__": "mlflow_val_loss",
        "cluster": "a",
        "experiment_name": "churn",
        "job": "mlflow_metrics",
        "metric": "val/loss",
        "run_id": "a" * 32,
    }
    assert series.samples == [(NOW + 123, 0.25)]


@pytest.mark.parametrize(("server", "seen"), [("http://mlflow", "of the operator's"), ("eu", "eu")])
def test_an_operators_own_label_gives_way_only_to_a_name(new: WriteReceiver, server: str, seen: str) -> None:
    sample = Sample(replace(RUN, server=server), "val/loss", 7, NOW, 0.25)
    send(exporter(new.url, labels={"server": "of the operator's"}), Batch("b", NOW, [sample]))
    (series,) = new.series
    assert dict(series.labels)["server"] == seen


@given(
    samples=st.lists(any_sample, max_size=8),
    created=st.integers(EARLIEST_MS, 2**53),
    version=st.sampled_from(["v1", "v2"]),
)
def test_labels_are_sorted_unique_and_not_empty_and_times_increase(
    both: WriteReceiver, samples: list[Sample], created: int, version: str
) -> None:
    """SortedLabels, RepeatedLabels, EmptyLabels, NameLabel, JobLabel, Ordering and Invalid of the suite."""
    both.accepted.clear()
    made = exporter(both.url, protocol=version, job_name="here", labels={"extra": "x"})
    send(made, Batch("b", created, samples))
    made.close()
    assert [used for used, _ in both.accepted] == ([version] if samples else [])
    assert sum(len(series.samples) for series in both.series) == len(samples)
    assert len({tuple(series.labels) for series in both.series}) == len(both.series)
    for series in both.series:
        names = [name for name, _ in series.labels]
        assert names == sorted(set(names))
        assert all(value for _, value in series.labels)
        assert re.fullmatch(r"mlflow_[a-zA-Z0-9_]+", dict(series.labels)["__name__"])
        assert dict(series.labels)["job"] == "here"
        times = [at for at, _ in series.samples]
        assert times == sorted(set(times))
        assert times[-1] <= created + AHEAD + len(samples)
    sent = sorted(repr(value) for series in both.series for _, value in series.samples)
    assert sent == sorted(repr(sample.value) for sample in samples)


def test_no_value_is_the_marker_that_ends_a_series() -> None:
    """Staleness: NaN of a run is a value, and not the one NaN that means "no more"."""
    body = encode_v1({(("__name__", "a"),): [Dated(1, 0, math.nan, 0)]})
    import cramjam

    (series,) = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(body))).timeseries
    assert struct.pack(">d", series.samples[0].value) != bytes.fromhex("7ff0000000000002")


@pytest.mark.parametrize("version", ["v1", "v2", "auto"])
@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_what_may_be_tried_again_is(new: WriteReceiver, status: int, version: str) -> None:
    new.trouble = [answer(status, {"Retry-After": "7"})]
    made = exporter(new.url, protocol=version)
    with pytest.raises(RetryableExportError, match=f"HTTP {status}") as raised:
        send(made, batch())
    assert raised.value.retry_after == 7
    assert len(new.requests) == 1
    send(made, batch())
    assert len(new.samples()) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_must_not_be_tried_again_is_not(old: WriteReceiver, status: int) -> None:
    old.trouble = [answer(status, body=b"out of order sample")]
    with pytest.raises(PermanentExportError, match="out of order sample") as raised:
        send(exporter(old.url, protocol="v1"), batch())
    assert raised.value.status == status
    assert len(old.requests) == 1


def test_credentials_that_are_refused_are_no_ones_fault_but_theirs(new: WriteReceiver) -> None:
    new.trouble = [answer(401)]
    with pytest.raises(UnauthorizedExportError):
        send(exporter(new.url), batch())
    assert len(new.requests) == 1, "no other version is tried"


def test_a_receiver_of_1_0_gets_1_0_and_is_not_asked_again(old: WriteReceiver) -> None:
    """It answers 204 to a request of 2.0, of which it understands nothing."""
    made = exporter(old.url)
    send(made, batch())
    send(made, batch())
    assert [request.headers["x-prometheus-remote-write-version"] for request in old.requests] == [
        "2.0.0",
        "0.1.0",
        "0.1.0",
    ]
    assert len(old.samples()) == 6


@pytest.mark.parametrize("status", [400, 415])
def test_a_receiver_that_refuses_2_0_gets_1_0(old: WriteReceiver, status: int) -> None:
    old.trouble = [answer(status)]
    send(exporter(old.url), batch())
    assert [version for version, _ in old.accepted] == ["v1"]


def test_a_receiver_of_2_0_that_refuses_samples_is_not_taken_for_one_of_1_0(new: WriteReceiver) -> None:
    new.trouble = [answer(400, {"X-Prometheus-Remote-Write-Samples-Written": "2"})]
    with pytest.raises(PermanentExportError):
        send(exporter(new.url), batch())
    assert len(new.requests) == 1


def test_only_2_0_if_so_configured(old: WriteReceiver) -> None:
    send(exporter(old.url, protocol="v2"), batch())
    assert len(old.requests) == 1


def test_a_check_writes_nothing_and_says_what_is_wrong(old: WriteReceiver) -> None:
    exporter(old.url).check()
    assert old.samples() == []
    for status, error in ((401, UnauthorizedExportError), (404, RetryableExportError), (503, RetryableExportError)):
        old.trouble = [answer(status)]
        with pytest.raises(error):
            exporter(old.url).check()
    old.trouble = [answer(400)]
    exporter(old.url).check()


def test_a_time_in_the_future_is_clamped_to_when_it_was_read(new: WriteReceiver) -> None:
    """FACTS of Prometheus: one sample two hours ahead, and it refuses everything that comes after."""
    send(exporter(new.url), points(NOW - 5, NOW + 60_000, NOW + 7_200_000, NOW + 10**12))
    assert [(at - NOW, value) for _, at, value in new.samples()] == [(-5, 0.0), (0, 2.0), (1, 3.0), (60_000, 1.0)]


@given(times=st.lists(st.integers(0, 20), min_size=1))
def test_values_of_one_time_are_spread_in_their_order_and_as_little_as_possible(times: list[int]) -> None:
    series = sorted((Dated(at, step, 0.0, 0) for step, at in enumerate(times)), key=lambda one: one.order)
    moved = spread(series)
    after = [one.timestamp_ms for one in moved]
    assert after == sorted(set(after))
    assert [one.step for one in moved] == [one.step for one in series]
    assert all(new >= old.timestamp_ms for new, old in zip(after, series, strict=True))
    if len(set(times)) == len(times):
        assert moved == series


def test_a_series_is_in_the_order_of_its_times_and_of_one_time_in_that_of_its_steps() -> None:
    run = batch(1).samples[0].run
    logged = [(2, 7), (3, 5), (1, 7), (0, 9)]
    (series,) = to_series([Sample(run, "loss", step, at, 0.5) for step, at in logged], {}).values()
    assert [(one.timestamp_ms, one.step) for one in series] == [(5, 3), (7, 1), (7, 2), (9, 0)]
    assert [one.place for one in series] == [1, 2, 0, 3], "where it stood tells what is refused"


def late(**config: Any) -> dict[str, Any]:
    return {"out_of_order_window": "0s", **config}


def test_without_a_window_everything_is_sent_and_the_receiver_decides(new: WriteReceiver) -> None:
    send(exporter(new.url), points(0, NOW))
    assert [at for _, at, _ in new.samples()] == [0, NOW]


def test_what_comes_too_late_is_named_and_the_rest_is_sent(new: WriteReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lateness, "now_ms", lambda: NOW)
    made = exporter(new.url, **late())
    send(made, points(NOW - 10_000, NOW - 5_000))
    with pytest.raises(PartialExportError, match="later than the 0 s that out_of_order_window allows") as raised:
        send(made, points(NOW - 1000, NOW - 7_000, NOW - 5_000, NOW))
    assert raised.value.rejected == (1, 2), "older than what was sent, and of the same time"
    with pytest.raises(PartialExportError) as raised:
        send(made, points(NOW - 3_600_001, key="other"))
    assert raised.value.rejected == (0,), "a new series that is older than the receiver's head"
    assert [at - NOW for _, at, _ in new.samples()] == [-10_000, -5_000, -1000, 0]


def test_what_comes_too_late_may_be_recorded_when_it_was_read(
    new: WriteReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lateness, "now_ms", lambda: NOW)
    made = exporter(new.url, **late(late="shift"))
    send(made, points(NOW - 10_000, NOW - 5_000))
    send(made, points(NOW - 7_000, NOW - 8_000, NOW + 1000, read_ms=NOW + 500))
    later = [(at - NOW, value) for _, at, value in new.samples()][2:]
    assert later == [(500, 1.0), (501, 0.0), (1000, 2.0)], "in their order, before what is newer"


@pytest.mark.parametrize("policy", ["dead_letter", "shift"])
def test_a_batch_that_begins_again_after_a_part_of_it_was_delivered_is_not_late(
    new: WriteReceiver, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused batch goes out in halves; when the second half fails for now, all of it begins again."""
    monkeypatch.setattr(lateness, "now_ms", lambda: NOW)
    made = exporter(new.url, **late(late=policy))
    send(made, points(NOW - 4000, NOW - 500))
    whole = points(*([NOW - 2000] if policy == "shift" else []), NOW - 300, NOW - 200, NOW - 100)
    send(made, Batch("half", NOW, whole.samples[:2]))
    first = new.samples()[2:]
    send(made, whole)
    assert {(at, value) for _, at, value in first} <= {(at, value) for _, at, value in new.samples()[4:]}
    assert len(new.samples()) == 2 + 2 + len(whole.samples)


def test_of_what_was_sent_only_the_latest_is_remembered(new: WriteReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lateness, "_RECENT", 5)
    made = exporter(new.url, out_of_order_window="1d")
    now = int(time.time() * 1000)
    for step in range(20):
        send(made, points(now + step, read_ms=now + step))
    assert len(made._lateness._recent) == 5


def test_a_window_lets_in_what_is_not_older(new: WriteReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lateness, "now_ms", lambda: NOW)
    made = exporter(new.url, out_of_order_window="2d")
    send(made, points(NOW))
    with pytest.raises(PartialExportError) as raised:
        send(made, points(NOW - 86_400_000, NOW - 2 * 86_400_000 - 1))
    assert raised.value.rejected == (1,)


def test_series_that_are_over_are_forgotten(new: WriteReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = NOW
    monkeypatch.setattr(lateness, "now_ms", lambda: clock)
    monkeypatch.setattr(lateness, "_MANY", 10)
    made = exporter(new.url, **late())
    for number in range(100):
        clock += 600_000
        send(made, points(clock, key=f"key{number}", read_ms=clock))
    assert len(made._lateness._newest) <= 20


def test_to_shift_one_must_say_what_is_late() -> None:
    with pytest.raises(ValidationError, match="late: shift needs out_of_order_window"):
        RemoteWriteConfig.model_validate({"type": "remote_write", "url": "http://a/b", "late": "shift"})


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus that takes nothing out of order."""
    with prometheus(tmp_path_factory.mktemp("strict"), {}, receives="0s") as server:
        yield server


@pytest.mark.parametrize("policy", ["dead_letter", "shift"])
def test_a_real_prometheus_without_a_window_takes_what_the_policy_leaves(strict: Prometheus, policy: str) -> None:
    """It would refuse the whole request for one late sample."""
    now = int(time.time() * 1000)
    made = exporter(f"{strict.url}/api/v1/write", **late(late=policy, job_name=policy))
    made.check()
    send(made, points(now - 30_000, now - 20_000, read_ms=now))
    with pytest.raises(PermanentExportError, match="out of order"):
        send(exporter(f"{strict.url}/api/v1/write", job_name=policy), points(now - 25_000, now, read_ms=now))
    if policy == "dead_letter":
        with pytest.raises(PartialExportError):
            send(made, points(now - 25_000, now - 10_000, read_ms=now))
        wanted = [(now - 30_000, 0.0), (now - 20_000, 1.0), (now - 10_000, 1.0)]
    else:
        send(made, points(now - 25_000, now + 3, read_ms=now))
        wanted = [(now - 30_000, 0.0), (now - 20_000, 1.0), (now, 0.0), (now + 3, 1.0)]
        time.sleep(0.01)  # an instant query sees what is not after now
    assert list(strict.raw(f'{{job="{policy}"}}').values()) == [wanted]


def test_one_sample_from_the_future_does_not_stop_a_real_prometheus(strict: Prometheus, tmp_path: Path) -> None:
    now = int(time.time() * 1000)
    made = exporter(f"{strict.url}/api/v1/write", job_name="future")
    send(made, points(now + 7_200_000, read_ms=now))
    send(made, points(now + 1000, read_ms=now + 1000))
    ((at, _), *_) = next(iter(strict.raw('{job="future"}').values()))
    assert at == now


def test_no_label_is_longer_than_receivers_take_and_none_merge(new: WriteReceiver) -> None:
    runs = [replace(RUN, experiment_name="é" * 5000 + end) for end in "ab"]
    send(exporter(new.url), Batch("b", NOW, [Sample(run, "loss", 7, NOW, 0.25) for run in runs]))
    names = [dict(series.labels)["experiment_name"] for series in new.series]
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= 2048 for name in names)


def test_a_key_that_a_renaming_makes_long_is_cut_in_both_of_its_labels(new: WriteReceiver) -> None:
    send(exporter(new.url), Batch("b", NOW, [Sample(RUN, "k" * 5000 + end, 7, NOW, 0.25) for end in "ab"]))
    for label in ("__name__", "metric"):
        values = [dict(series.labels)[label] for series in new.series]
        assert [len(value.encode()) for value in values] == [2048, 2048]
        assert len(set(values)) == 2
