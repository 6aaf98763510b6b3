from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.exporters.answers import LONGEST_WAIT, to_error
from mlflow_monitoring_exporter.http import HttpResponse


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ((408, 425, 429, 500, 502, 503, 504, 599), RetryableExportError),
        ((301, 302, 307, 308, 404, 405), RetryableExportError),
        ((401, 403), UnauthorizedExportError),
        ((400, 402, 409, 410, 413, 415, 422, 451), PermanentExportError),
    ],
)
def test_every_answer_has_one_consequence(statuses: tuple[int, ...], meaning: type[ExportError]) -> None:
    assert {type(to_error(HttpResponse(status, {}, b""), "said")) for status in statuses} == {meaning}


def wait(header: str) -> float | None:
    error = to_error(HttpResponse(503, {"Retry-After": header}, b""), "said")
    assert isinstance(error, RetryableExportError)
    return error.retry_after


@given(st.integers(0, 10**12))
def test_a_pause_in_seconds_is_honoured_but_not_for_days(seconds: int) -> None:
    assert wait(f" {seconds} ") == min(seconds, LONGEST_WAIT)


@given(st.integers(-(10**6), 10**6))
def test_a_pause_until_a_date_is_honoured_too(seconds: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    assert wait(date) == pytest.approx(min(max(seconds, 0), LONGEST_WAIT), abs=2)


@given(st.text())
def test_nonsense_is_no_pause(text: str) -> None:
    seconds = wait(text)
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


def test_the_wish_travels_with_the_error() -> None:
    assert wait("7") == 7
