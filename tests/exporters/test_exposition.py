"""What /metrics and the Pushgateway get, read back by other people's parsers."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from mlflow_monitoring_exporter.core.values import Family, Series, Snapshot
from mlflow_monitoring_exporter.prometheus import exposition as module
from mlflow_monitoring_exporter.prometheus.exposition import Encoder
from tests.exporters.samples import any_snapshot
from tests.parts.programs import need


def flat(payload: Snapshot) -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    return sorted(
        (family.name, tuple(sorted(zip(family.labels, series.labels, strict=True))), repr(series.value))
        for family in payload.families()
        for series in family.series
    )


def encoded(payload: Snapshot) -> bytes:
    return Encoder().text(payload.families())


def parsed(text: bytes) -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    return sorted(
        (sample.name, tuple(sorted(sample.labels.items())), repr(float(sample.value)))
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    )


@given(any_snapshot)
def test_what_is_encoded_is_what_a_parser_reads(payload: Snapshot) -> None:
    assert parsed(encoded(payload)) == flat(payload)


@given(any_snapshot)
def test_each_family_has_its_help_and_type_once(payload: Snapshot) -> None:
    lines = encoded(payload).decode().split("\n")
    for kind in ("HELP", "TYPE"):
        names = [line.split(" ")[2] for line in lines if line.startswith(f"# {kind} ")]
        assert names == sorted({family.name for family in payload.families()})


@settings(max_examples=15, deadline=None)
@given(any_snapshot)
def test_promtool_accepts_whatever_mlflow_holds(payload: Snapshot) -> None:
    text = encoded(payload)
    done = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    # Exit code 3 is lint: a user's key may end in _total or hold capitals. 1 would be unreadable.
    assert done.returncode in (0, 3), done.stderr


@given(any_snapshot)
def test_openmetrics_says_the_same(payload: Snapshot) -> None:
    text = Encoder().page(payload).plain(openmetrics=True) + b"# EOF\n"
    found = sorted(
        (sample.name, tuple(sorted(sample.labels.items())), repr(float(sample.value)))
        for family in openmetrics_families(text.decode())
        for sample in family.samples
    )
    assert found == flat(payload)


@given(any_snapshot)
def test_a_page_is_the_same_compressed(payload: Snapshot) -> None:
    page = Encoder().page(payload)
    for openmetrics in (False, True):
        for rest in (b"", b"more 1\n"):
            squeezed = page.gzipped(rest, openmetrics=openmetrics)
            assert gzip.decompress(squeezed) == page.plain(openmetrics=openmetrics) + rest
            reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
            reader.decompress(squeezed)
            assert (reader.eof, reader.unused_data) == (True, b""), "it is one member: curl reads no second one"


def test_a_counter_has_the_name_that_each_format_wants() -> None:
    family = Family("mlflow_changes_total", "Changes.", "counter", ("model",), (Series(("m",), 2.0),))
    page = Encoder().page(Snapshot({"": (family,)}))
    assert page.plain(openmetrics=False) == (
        b"# HELP mlflow_changes_total Changes.\n# TYPE mlflow_changes_total counter\n"
        b'mlflow_changes_total{model="m"} 2.0\n'
    )
    assert page.plain(openmetrics=True) == (
        b'# HELP mlflow_changes Changes.\n# TYPE mlflow_changes counter\nmlflow_changes_total{model="m"} 2.0\n'
    )


def test_a_family_that_stays_is_not_encoded_again() -> None:
    stays, goes = (Family(f"mlflow_{name}", "h", "gauge", ("a",), (Series((name,), 1.0),)) for name in ("x", "y"))
    encoder = Encoder()
    encoder.page(Snapshot({"1": (stays, goes)}))
    encoder.turn()
    moved = goes._replace(series=(Series(("y",), 2.0),))
    with no_lines_of(stays):
        text = encoder.page(Snapshot({"1": (stays, moved)})).plain(openmetrics=False)
    assert b'mlflow_x{a="x"} 1.0' in text
    assert b'mlflow_y{a="y"} 2.0' in text


@contextmanager
def no_lines_of(family: Family) -> Iterator[None]:
    """Fails when the lines of ``family`` are made."""
    make = module._lines

    def watched(one: Family) -> bytes:
        assert one is not family
        return make(one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_lines", watched)
        yield
