"""A platform fails: is it away, or is it one sample? The queue is real; the platform and its outages are a model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.errors import (
    PermanentExportError,
    RetryableExportError,
    UnauthorizedExportError,
)
from mlflow_monitoring_exporter.core.values import Batch, RunContext, Sample
from mlflow_monitoring_exporter.delivery import poison as trial
from mlflow_monitoring_exporter.delivery.payload_source import QueueSource
from mlflow_monitoring_exporter.delivery.worker import Drained, Worker
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.dead_letters import DeadLetters
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics
from mlflow_monitoring_exporter.telemetry.readiness import Readiness
from tests.parts.dead_samples import dead_samples

#: Seconds of an outage.
LONG = 4 * 3600.0
CONTEXT = RunContext("server", "1", "experiment", "a" * 32, "run")


def crashing(status: int | None) -> Callable[[], Exception]:
    """What a platform that fails looks like: a 5xx, or a connection that is closed or silent."""
    text = "connection closed without an answer" if status is None else f"answered HTTP {status}"
    return lambda: RetryableExportError(f"http://sink: {text}", status=status)


@dataclass
class Platform:
    """Fails for every request that holds one of ``poison``, and for the requests, by number, that ``away`` names."""

    poison: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    away: Callable[[int], bool] = lambda _: False
    ill: Callable[[], Exception] = field(default_factory=lambda: crashing(500))
    requests: list[list[int]] = field(default_factory=list)
    got: dict[str, list[int]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def start(self) -> None: ...

    def check(self) -> None: ...

    def export(self, payload: Batch, *, deadline: Deadline) -> None:
        assert deadline.remaining() > 0
        steps = [sample.step for sample in payload.samples]
        self.requests.append(steps)
        if self.away(len(self.requests)) or self.poison.intersection(steps):
            raise self.ill()
        if self.refused.intersection(steps):
            raise PermanentExportError("HTTP 422", status=422)
        assert self.got.setdefault(payload.batch_id, steps) == steps, "one id, one content"
        self.order += steps

    def close(self) -> None: ...


@dataclass
class Sink:
    platform: Platform
    worker: Worker
    outbox: Outbox
    queue_id: QueueId
    database: Database
    readiness: Readiness

    def queue(self, steps: Sequence[int], batch_size: int = 500, value: float = 0.5) -> None:
        samples = [Sample(CONTEXT, "loss", step, step, value) for step in steps]
        with self.database.write() as tx:
            self.outbox.enqueue(tx, self.queue_id, samples, batch_size=batch_size)

    def attempt(self, times: int = 1) -> Drained:
        """So many attempts of the batch at the head; whatever else can be delivered then is."""
        for _ in range(times):
            drained = self.worker.drain(Deadline.after(60), attempts=1)
            if drained.error is None:
                break
        return drained

    @property
    def waiting(self) -> int:
        ledger = self.outbox.ledger(self.queue_id)
        assert ledger.balanced
        return ledger.queued

    @property
    def dead(self) -> dict[int, tuple[int | None, str]]:
        """Status and reason of every dead sample, by its step."""
        letters = DeadLetters(self.database)
        return {
            sample.step: (letter.status, letter.reason)
            for letter in letters.all()
            for sample in dead_samples(letters, letter.number)
        }


@contextmanager
def sink_with(platform: Platform) -> Iterator[Sink]:
    with TemporaryDirectory() as directory:
        database = Database(f"sqlite:///{directory}/state.db")
        outbox = Outbox(database)
        queue = outbox.register(["sink"])["sink"]
        readiness = Readiness()
        made = Worker("sink", platform, QueueSource(outbox, queue), readiness=readiness, metrics=SelfMetrics(readiness))
        yield Sink(platform, made, outbox, queue, database, readiness)
        database.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with sink_with(Platform()) as made:
        yield made


@dataclass
class Clock:
    """The monotonic clock, for what decides when a batch is divided."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(trial, "time", made)
    return made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt after the second is a round of its own, so that outages meet as many of them as can be."""
    monkeypatch.setattr(trial, "ATTEMPTS", 2)
    monkeypatch.setattr(trial, "PATIENCE", 0.0)
    monkeypatch.setattr(trial, "BETWEEN", 0.0)


def pass_time(sink: Sink, clock: Clock, seconds: float, every: float = 60.0) -> None:
    """The worker tries as often as it would."""
    end = clock.now + seconds
    while clock.now < end:
        sink.attempt()
        clock.now += every


def test_a_batch_with_nan_is_known_again_and_so_divided_in_its_time(sink: Sink, clock: Clock) -> None:
    sink.platform.poison = frozenset({3})
    sink.queue(range(60), value=math.nan)
    pass_time(sink, clock, trial.PATIENCE + trial.TIMES * trial.BETWEEN + 180, every=20.0)
    assert (sink.waiting, set(sink.dead)) == (0, {3})


@pytest.mark.parametrize("status", [500, 502, None])
def test_one_sample_that_always_fails_ends_as_a_dead_letter_and_holds_nothing_up(
    sink: Sink, clock: Clock, status: int | None
) -> None:
    sink.platform.poison, sink.platform.ill = frozenset({123}), crashing(status)
    sink.queue(range(500))
    sink.queue(range(500, 800), batch_size=100)
    pass_time(sink, clock, trial.PATIENCE, every=20.0)
    assert len(sink.platform.requests) >= trial.ATTEMPTS
    assert sink.waiting == 800, "nothing is judged before its time"
    pass_time(sink, clock, trial.TIMES * trial.BETWEEN + 180)
    assert sink.waiting == 0
    ((step, (code, reason)),) = sink.dead.items()
    assert (step, code) == (123, status)
    assert str(crashing(status)()) in reason
    assert sorted(sink.platform.order) == [step for step in range(800) if step != 123]
    assert len(sink.platform.requests) < 100


def test_nothing_is_divided_before_so_many_attempts_and_so_much_time(sink: Sink, clock: Clock) -> None:
    sink.platform.poison = frozenset({1})
    sink.queue(range(4))
    for _ in range(3 * trial.ATTEMPTS):
        sink.attempt()
    clock.now += trial.PATIENCE - 1
    sink.attempt()
    assert {tuple(steps) for steps in sink.platform.requests} == {(0, 1, 2, 3)}
    clock.now += 2
    sink.attempt()
    assert {tuple(steps) for steps in sink.platform.requests} != {(0, 1, 2, 3)}


@pytest.mark.parametrize("status", [500, 503, None])
def test_a_platform_that_is_away_for_hours_loses_nothing_and_is_not_hammered(
    sink: Sink, clock: Clock, status: int | None
) -> None:
    sink.platform.away, sink.platform.ill = (lambda _: True), crashing(status)
    sink.queue(range(1500))
    pass_time(sink, clock, LONG)
    attempts = LONG / 60
    assert len(sink.platform.requests) < 1.5 * attempts + 10 * LONG / trial.PATIENCE
    assert (sink.waiting, sink.dead) == (1500, {})
    sink.platform.away = lambda _: False
    before = len(sink.platform.requests)
    assert sink.attempt().error is None
    assert sink.platform.order == list(range(1500)), "in order, once, and the first batch as it was"
    assert len(sink.platform.requests) == before + 3


@pytest.mark.parametrize("status", [429, 404])
def test_an_answer_that_is_not_about_the_payload_never_divides_a_batch(sink: Sink, clock: Clock, status: int) -> None:
    sink.platform.away, sink.platform.ill = (lambda _: True), crashing(status)
    sink.queue(range(100))
    pass_time(sink, clock, LONG)
    assert {len(steps) for steps in sink.platform.requests} == {100}
    assert (sink.waiting, sink.dead) == (100, {})


def test_a_platform_that_asks_for_patience_is_never_met_with_parts(sink: Sink, clock: Clock) -> None:
    sink.platform.away = lambda _: True
    sink.platform.ill = lambda: RetryableExportError("HTTP 503", retry_after=0.0, status=503)
    sink.queue(range(100))
    pass_time(sink, clock, LONG)
    assert {len(steps) for steps in sink.platform.requests} == {100}


@pytest.mark.usefixtures("hasty")
def test_a_poison_that_is_all_there_is_waits_until_something_else_is_taken(sink: Sink) -> None:
    sink.platform.poison = frozenset({0})
    sink.queue([0])
    sink.attempt(50)
    assert (sink.waiting, sink.dead) == (1, {}), "it may well be the platform"
    for step in range(1, 10):
        sink.queue([step])
        sink.attempt(2)
    assert sink.waiting == 0
    assert set(sink.dead) == {0}
    assert sorted(sink.platform.order) == list(range(1, 10))


@pytest.mark.usefixtures("hasty")
def test_batches_of_nothing_but_poison_hold_nothing_up(sink: Sink) -> None:
    sink.platform.poison = frozenset(range(12))
    sink.queue(range(12), batch_size=1)
    sink.queue(range(12, 60), batch_size=1)
    sink.attempt(200)
    assert sink.waiting == 0
    assert set(sink.dead) == set(range(12))
    assert sorted(sink.platform.order) == list(range(12, 60))


@pytest.mark.usefixtures("hasty")
def test_a_whole_batch_of_poison_dies_only_while_others_are_taken(sink: Sink) -> None:
    sink.platform.poison = frozenset(range(20))
    sink.queue(range(20))
    sink.attempt(50)
    assert sink.dead == {}
    sink.queue(range(20, 200), batch_size=1)
    sink.attempt(100)
    assert set(sink.dead) == set(range(20))
    assert sorted(sink.platform.order) == list(range(20, 200))


@pytest.mark.usefixtures("hasty")
def test_what_is_refused_outright_and_what_fails_are_both_found(sink: Sink) -> None:
    sink.platform.poison, sink.platform.refused = frozenset({3, 40}), frozenset({41, 90})
    sink.queue(range(100))
    sink.attempt(50)
    assert sink.waiting == 0
    assert {step: status for step, (status, _) in sink.dead.items()} == {3: 500, 40: 500, 41: 422, 90: 422}
    assert sorted(sink.platform.order) == [step for step in range(100) if step not in sink.dead]


@pytest.mark.usefixtures("hasty")
def test_credentials_that_fail_in_the_middle_keep_what_is_left(sink: Sink) -> None:
    sink.platform.poison = frozenset({3})
    sink.queue(range(50))
    sink.attempt(2)
    healthy, sink.platform.away = sink.platform.away, lambda _: True
    poisonous, sink.platform.ill = sink.platform.ill, lambda: UnauthorizedExportError("HTTP 401")
    sink.attempt(20)
    assert sink.dead == {}
    sink.platform.away, sink.platform.ill = healthy, poisonous
    sink.attempt(20)
    assert set(sink.dead) == {3}
    assert sorted(sink.platform.order) == [step for step in range(50) if step != 3]


@pytest.mark.usefixtures("hasty")
def test_a_restart_in_the_middle_begins_again_with_the_same_ids(sink: Sink) -> None:
    sink.platform.poison = frozenset({77})
    sink.queue(range(200))
    sink.attempt(3)
    assert 0 < len(sink.platform.order) < 199
    again = Worker(
        "sink",
        sink.platform,
        QueueSource(sink.outbox, sink.queue_id),
        readiness=sink.readiness,
        metrics=SelfMetrics(Readiness()),
    )
    sink.worker = again
    sink.attempt(20)
    assert set(sink.dead) == {77}
    by_id = [step for steps in sink.platform.got.values() for step in steps]
    assert sorted(by_id) == [step for step in range(200) if step != 77], "a sink that remembers keys has each once"


outages = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60)), max_size=6)


@pytest.mark.usefixtures("hasty")
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=4),
    poison=st.sets(st.integers(0, 300), max_size=6),
    periods=outages,
    status=st.sampled_from([500, 503, None]),
)
def test_whatever_is_poison_and_whenever_it_is_away_all_else_arrives_and_only_poison_dies(
    sizes: list[int], poison: set[int], periods: list[tuple[int, int]], status: int | None
) -> None:
    down: set[int] = set()
    at = 0
    for gap, length in periods:
        at += gap + 1
        down.update(range(at, at + length))
        at += length
    platform = Platform(frozenset(poison), away=down.__contains__, ill=crashing(status))
    with sink_with(platform) as sink:
        count = sum(sizes)
        for number, size in enumerate(sizes):
            begin = sum(sizes[:number])
            sink.queue(range(begin, begin + size))
        # Life goes on: something new comes now and then.
        later = iter(range(1000, 2000))
        while sink.waiting:
            sink.attempt(5)
            assert not set(sink.dead) - poison, "an outage alone sets nothing aside"
            if sink.waiting:
                sink.queue([next(later)])
        assert set(sink.dead) == poison & set(range(count))
        assert {(code, "HTTP 500" in reason) for code, reason in sink.dead.values()} <= {(status, status == 500)}
        arrived = {step for step in platform.order if step < 1000}
        assert arrived == set(range(count)) - poison
        assert len(platform.order) == len(set(platform.order)), "and once, as nothing was stored of what failed"


def test_stopping_ends_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "ATTEMPTS", 1)
    monkeypatch.setattr(trial, "PATIENCE", 0.0)
    with sink_with(Platform(poison=frozenset(range(400)))) as sink:
        sink.queue(range(400))
        sink.queue(range(400, 600), batch_size=1)
        until = Deadline.after(0.2)
        sink.worker.drain(until, attempts=1)
        assert time.monotonic() < until.at + 10
        assert sink.dead == {}
