from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.exporters.answers import LONGEST_WAIT, to_error
from mlflow_monitoring_exporter.http import HttpResponse

MEANINGS: list[tuple[tuple[int, ...], type[ExportError]]] = [
    ((408, 423, 424, 425, 429, 500, 501, 502, 503, 504, 505, 511, 599), RetryableExportError),
    ((301, 302, 304, 307, 308, 404, 405, 406, 411, 414, 417, 421, 426, 428, 431), RetryableExportError),
    ((401, 403, 407), UnauthorizedExportError),
    ((207, 400, 402, 409, 410, 412, 413, 415, 416, 422, 451), PermanentExportError),
]


@pytest.mark.parametrize(("statuses", "meaning"), MEANINGS)
def test_every_answer_has_one_consequence(statuses: tuple[int, ...], meaning: type[ExportError]) -> None:
    assert {type(to_error(HttpResponse(status, {}, b""), "said")) for status in statuses} == {meaning}


@given(st.integers(200, 599), st.integers(0, 100))
def test_a_key_changes_what_a_conflict_means_and_nothing_else(status: int, seconds: int) -> None:
    answered = HttpResponse(status, {"Retry-After": str(seconds)}, b"")
    plain, keyed = to_error(answered, "said"), to_error(answered, "said", keyed=True)
    if status == 409:
        assert isinstance(plain, PermanentExportError)
        assert isinstance(keyed, RetryableExportError)
        assert (keyed.retry_after, str(keyed)) == (seconds, "said; the first request with this key is still in work")
    else:
        assert (type(plain), str(plain)) == (type(keyed), str(keyed))


@given(
    st.sampled_from([status for statuses, error in MEANINGS if error is RetryableExportError for status in statuses])
)
def test_whatever_is_tried_again_is_tried_again_when_the_platform_wants(status: int) -> None:
    error = to_error(HttpResponse(status, {"Retry-After": "7"}, b""), "said")
    assert isinstance(error, RetryableExportError)
    assert error.retry_after == 7


@pytest.mark.parametrize("status", [200, 201, 202, 203, 207])
def test_a_page_with_success_asks_for_a_login_perhaps(status: int) -> None:
    error = to_error(HttpResponse(status, {"Content-Type": "text/html"}, b"<html>"), "said")
    assert isinstance(error, RetryableExportError)
    assert "login page" in str(error)


def wait(header: str) -> float | None:
    error = to_error(HttpResponse(503, {"Retry-After": header}, b""), "said")
    assert isinstance(error, RetryableExportError)
    return error.retry_after


@given(st.integers(0, 10**12))
def test_a_pause_in_seconds_is_honoured_but_not_for_days(seconds: int) -> None:
    assert wait(f" {seconds} ") == min(seconds, LONGEST_WAIT)


def test_a_pause_is_an_hour_at_most() -> None:
    assert wait("86400") == 3600
    assert wait("Fri, 31 Dec 9999 23:59:59 GMT") == 3600


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
