from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tenacity import Future, RetryCallState, Retrying

from mlflow_monitoring_exporter.core.errors import RetryableExportError, UnauthorizedExportError
from mlflow_monitoring_exporter.delivery.backoff import LONGEST, PARKED, Backoff


def pause(error: Exception, attempt: int) -> float:
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    state.outcome = Future.construct(attempt, error, has_exception=True)
    return Backoff()(state)


@given(st.integers(1, 200))
def test_a_pause_grows_with_the_attempts_and_is_capped(attempt: int) -> None:
    assert 0 <= pause(RetryableExportError("down"), attempt) <= min(2 ** (attempt - 1), LONGEST)


@given(st.integers(1, 200), st.floats(0, 3600))
def test_a_pause_is_never_shorter_than_the_platform_asked(attempt: int, wished: float) -> None:
    assert pause(RetryableExportError("busy", retry_after=wished), attempt) >= wished


@given(st.integers(1, 200))
def test_a_parked_exporter_asks_seldom_from_the_first_refusal_on(attempt: int) -> None:
    assert 0.7 * PARKED <= pause(UnauthorizedExportError("no"), attempt) <= 1.3 * PARKED
