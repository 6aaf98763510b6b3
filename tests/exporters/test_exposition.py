"""What /metrics and the Pushgateway get, read back by other people's parsers."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from prometheus_client.parser import text_string_to_metric_families

from mlflow_monitoring_exporter.exporters.exposition import encode_text
from mlflow_monitoring_exporter.model import Snapshot
from tests.exporters.samples import any_snapshot
from tests.parts.programs import need


def flat(payload: Snapshot) -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    return sorted(
        (family.name, tuple(sorted(series.labels)), repr(series.value))
        for family in payload.families()
        for series in family.series
    )


def parsed(text: bytes) -> list[tuple[str, tuple[tuple[str, str], ...], str]]:
    return sorted(
        (sample.name, tuple(sorted(sample.labels.items())), repr(float(sample.value)))
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    )


@given(any_snapshot)
def test_what_is_encoded_is_what_a_parser_reads(payload: Snapshot) -> None:
    assert parsed(encode_text(payload.families())) == flat(payload)


@given(any_snapshot)
def test_each_family_has_its_help_and_type_once(payload: Snapshot) -> None:
    lines = encode_text(payload.families()).decode().split("\n")
    for kind in ("HELP", "TYPE"):
        names = [line.split(" ")[2] for line in lines if line.startswith(f"# {kind} ")]
        assert names == sorted({family.name for family in payload.families()})


@settings(max_examples=15, deadline=None)
@given(any_snapshot)
def test_promtool_accepts_whatever_mlflow_holds(payload: Snapshot) -> None:
    text = encode_text(payload.families())
    done = subprocess.run([need("promtool"), "check", "metrics"], input=text, capture_output=True, check=False)
    # Exit code 3 is lint: a user's key may end in _total or hold capitals. 1 would be unreadable.
    assert done.returncode in (0, 3), done.stderr
