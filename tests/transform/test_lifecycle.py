"""Is a run that says RUNNING still doing anything?"""

from __future__ import annotations

import pytest

from mlflow_monitoring_exporter.config.schema import GaugesConfig
from mlflow_monitoring_exporter.core.values import RunGauges, RunStatus
from mlflow_monitoring_exporter.transform.lifecycle import Patience, duration_ms, orphaned, stalled

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
NOW = 1_790_000_000_000
PATIENCE = Patience.of(GaugesConfig(), interval=60)


def run(status: str = "RUNNING", **facts: object) -> RunGauges:
    given = {"start_ms": NOW - 30 * HOUR, "end_ms": None, **facts}
    return RunGauges("1", "a" * 32, "run", RunStatus(status), model_stage="", values={}, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "is_stalled"),
    [
        (run(last_ms=NOW - 59 * MINUTE), False),
        (run(last_ms=NOW - 61 * MINUTE), True),
        (run(last_ms=NOW - 61 * MINUTE, gap_ms=HOUR), True),
        (run(last_ms=NOW - 21 * MINUTE, gap_ms=2 * MINUTE), True),
        (run(last_ms=NOW - 19 * MINUTE, gap_ms=2 * MINUTE), False),
        (run(last_ms=NOW - 9 * MINUTE, gap_ms=SECOND), False),  # polls are a minute apart
        (run(last_ms=NOW - 11 * MINUTE, gap_ms=SECOND), True),
        (run(last_ms=NOW - 61 * MINUTE, start_ms=NOW - MINUTE), False),  # it was resumed just now
        (run(), True),
        (run(start_ms=NOW), False),
        (run(start_ms=None), False),
        (run(last_ms=NOW + HOUR), False),  # a clock that is ahead
        (run(last_ms=NOW - 61 * MINUTE, alive_ms=NOW), True),  # only its system metrics go on
        *((run(status, last_ms=NOW - 61 * MINUTE), False) for status in ("SCHEDULED", "FINISHED", "FAILED", "KILLED")),
    ],
)
def test_a_running_run_that_is_silent_for_too_long_is_stalled(one: RunGauges, is_stalled: bool) -> None:
    assert stalled(one, NOW, PATIENCE) is is_stalled


@pytest.mark.parametrize(
    ("one", "parent_ended", "is_orphaned"),
    [
        (run(last_ms=NOW - 25 * HOUR, alive_ms=NOW - 25 * HOUR), False, True),
        (run(last_ms=NOW - 23 * HOUR, alive_ms=NOW - 23 * HOUR), False, False),
        (run(last_ms=NOW - 25 * HOUR, alive_ms=NOW), False, False),  # its process lives
        (run(last_ms=NOW - 2 * HOUR, alive_ms=NOW - 2 * HOUR), True, True),
        (run(last_ms=NOW, alive_ms=NOW), True, False),  # it goes on without its parent
        (run("FINISHED", last_ms=NOW - 25 * HOUR), True, False),
    ],
)
def test_a_stalled_run_that_no_one_will_end_is_orphaned(one: RunGauges, parent_ended: bool, is_orphaned: bool) -> None:
    assert orphaned(one, NOW, PATIENCE, parent_ended=parent_ended) is is_orphaned


@pytest.mark.parametrize(
    ("one", "duration"),
    [
        (run("FINISHED", start_ms=100, end_ms=350), 250),
        (run("FINISHED", start_ms=100, last_ms=300), 200),  # it has no end
        (run("KILLED", start_ms=100), None),
        (run("RUNNING", start_ms=100, last_ms=400, end_ms=200), 300),  # it was resumed
        (run("RUNNING", start_ms=None, last_ms=400), None),
        (run("FINISHED", start_ms=100, end_ms=50), 0),  # clocks differ
    ],
)
def test_a_duration_comes_from_mlflow_alone(one: RunGauges, duration: int | None) -> None:
    assert duration_ms(one) == duration
