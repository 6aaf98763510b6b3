"""A real socket listens; what becomes of the values is told by the protocols' own rules."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import RetryableExportError
from mlflow_monitoring_exporter.core.values import Family, Series, Snapshot
from mlflow_monitoring_exporter.exporters.builtin.statsd import StatsdConfig, StatsdExporter
from tests.exporters.samples import any_snapshot, snapshot


@contextmanager
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0.1)
        yield listening


def send(to: socket.socket, payload: Snapshot, **config: Any) -> list[str]:
    """The lines that arrive."""
    port = to.getsockname()[1]
    made = StatsdExporter(StatsdConfig.model_validate({"type": "statsd", "host": "127.0.0.1", "port": port, **config}))
    lines: list[str] = []
    try:
        made.start()
        made.export(payload, deadline=Deadline.after(5))
        made.close()
        # One more, so that nobody waits for the end.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end", to.getsockname())
        while (datagram := to.recv(65536)) != b"end":
            assert len(datagram) <= 1432
            lines += datagram.decode().split("\n")
    finally:
        made.close()
    return lines


@given(payload=any_snapshot)
def test_every_finite_value_is_a_gauge_with_its_labels_as_tags(payload: Snapshot) -> None:
    with listener() as to:
        lines = send(to, payload)
    found = []
    for line in lines:
        match = re.fullmatch(r"([a-zA-Z0-9_]+):([^|]+)\|g\|#([^|]+)", line)
        assert match, line
        found.append((match[1], float(match[2]), dict(tag.partition(":")[::2] for tag in match[3].split(","))))
    wanted = [
        (family.name, series.value, labels_of(family.labels, series.labels))
        for family in payload.families()
        for series in family.series
        if math.isfinite(series.value)
    ]
    assert found == wanted


def labels_of(names: tuple[str, ...], values: tuple[str, ...]) -> dict[str, str]:
    return {name: re.sub(r"[|,#\r\n]", "_", value) for name, value in zip(names, values, strict=True) if value}


def test_plain_statsd_has_paths_and_negative_values_that_are_values() -> None:
    """With a sign a value would change the gauge by so much (github.com/statsd/statsd, metric types)."""
    with listener() as to:
        lines = send(to, snapshot(loss=-0.5, acc=0.75), flavor="statsd", prefix="ml.")
    path = f"experiment.{'a' * 8}"
    assert lines == [
        f"ml.mlflow_acc.{path}.acc:0.75|g",
        f"ml.mlflow_loss.{path}.loss:0|g",
        f"ml.mlflow_loss.{path}.loss:-0.5|g",
    ]


def test_a_name_that_cannot_be_resolved_is_tried_again() -> None:
    made = StatsdExporter(StatsdConfig(type="statsd", host="no.such.host.invalid"))
    for attempt in (made.check, lambda: made.export(snapshot(loss=1.0), deadline=Deadline.after(5))):
        with pytest.raises(RetryableExportError, match=r"no\.such\.host\.invalid:8125"):
            attempt()
    made.close()


def test_a_port_that_no_one_listens_on_is_noticed_and_tried_again() -> None:
    with listener() as to:
        address = to.getsockname()
    made = StatsdExporter(StatsdConfig(type="statsd", host="127.0.0.1", port=address[1]))
    made.export(snapshot(loss=1.0), deadline=Deadline.after(5))  # as far as anybody can tell
    with pytest.raises(RetryableExportError, match="refused"):
        made.export(snapshot(loss=1.0), deadline=Deadline.after(5))
    made.export(snapshot(loss=1.0), deadline=Deadline.after(5))
    made.close()


def test_no_tag_is_longer_than_datadog_keeps_and_none_merge() -> None:
    labels = ("experiment_name", "run_id")
    series = tuple(Series(("x" * 300 + end, "a" * 8), 0.5) for end in "ab")
    payload = Snapshot({"1": (Family("mlflow_loss", "", "gauge", labels, series),)})
    with listener() as to:
        lines = send(to, payload)
    tags = [line.partition("|#")[2].split(",")[0] for line in lines]
    assert len(set(tags)) == 2
    assert all(len(tag.encode()) <= 200 for tag in tags)
