"""A pause that a platform asked for: who keeps to it, until when, and who ends it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.delivery.retry_after import LONGEST, LaterError, RetryAfter
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.retry_times import RetryTime, RetryTimes


class Counted(RetryTimes):
    """Counts how often it is read; ``others`` says whether others may write."""

    reads = 0
    others = False

    @property
    def shared(self) -> bool:
        return self.others

    def get(self, name: str, target: str) -> RetryTime | None:
        self.reads += 1
        return super().get(name, target)


class Broken(RetryTimes):
    """A state that cannot be used now."""

    def get(self, name: str, target: str) -> RetryTime | None:
        raise StateError(name)

    def put(self, name: str, target: str, pause: RetryTime) -> int:
        raise StateError(name)

    def drop(self, name: str) -> None:
        raise StateError(name)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/state.db")
    yield made
    made.close()


def process(database: Database) -> RetryAfter:
    """What another process, or this one after a restart, makes of the same state."""
    return RetryAfter("sink", "http://sink", RetryTimes(database))


def waits(one: RetryAfter) -> str:
    """Why nothing may be sent now; empty when something may."""
    try:
        one.check()
    except LaterError as error:
        return str(error)
    return ""


def test_who_was_asked_and_who_comes_later_wait_and_say_why(database: Database) -> None:
    asked = process(database)
    asked.asked(60, "busy until midnight")
    assert waits(asked).endswith("busy until midnight")
    assert waits(process(database)).endswith("busy until midnight")


def test_another_exporter_and_another_address_do_not_wait(database: Database) -> None:
    process(database).asked(60, "busy")
    assert waits(RetryAfter("another", "http://sink", RetryTimes(database))) == ""
    assert waits(RetryAfter("sink", "http://another", RetryTimes(database))) == ""


def test_it_is_said_when_the_pause_ends(database: Database) -> None:
    asked = process(database)
    asked.asked(1800, "busy")
    ends = datetime.now(UTC) + timedelta(seconds=1800)
    nearly = {f"{ends + timedelta(seconds=second):%H:%M:%S}" for second in range(-5, 60)}
    said = re.search(r"after (\S+) UTC", waits(asked))
    assert said
    assert said[1] in nearly


def test_no_one_waits_for_longer_than_an_hour(database: Database) -> None:
    asked = process(database)
    asked.asked(10 * LONGEST, "for ever")
    for one in (asked, process(database)):
        with pytest.raises(LaterError) as raised:
            one.check()
        assert raised.value.retry_after == pytest.approx(LONGEST, abs=30)


def test_a_pause_ends_for_all_when_the_platform_took_something(database: Database) -> None:
    process(database).asked(60, "busy")
    met = process(database)
    assert waits(met)
    met.over()
    assert waits(met) == ""
    assert waits(process(database)) == ""


def test_a_success_from_before_a_pause_does_not_end_it(database: Database) -> None:
    one, other = process(database), process(database)
    one.asked(60, "busy")
    one.over()
    other.asked(60, "busy again")
    one.over()
    process(database).over()
    assert waits(process(database)).endswith("busy again")


def test_without_a_usable_state_the_process_that_was_asked_waits(database: Database) -> None:
    asked = RetryAfter("sink", "http://sink", Broken(database))
    asked.asked(60, "busy")
    assert waits(asked)
    asked.over()
    assert waits(asked) == ""


def test_only_among_replicas_the_state_is_looked_at_again_and_once_a_second(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for others, reads in ((False, [1, 1, 1]), (True, [1, 1, 2])):
        times = Counted(database)
        times.others = others
        one = RetryAfter("sink", "http://sink", times)
        found = []
        for later in (0.0, 0.5, 1.0):
            now += later
            one.check()
            found.append(times.reads)
        assert found == reads
