from __future__ import annotations

import math
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_exporter.errors import StateCorruptError
from mlflow_monitoring_exporter.model import Experiment, Point, Run, RunContext, RunStatus, Sample
from mlflow_monitoring_exporter.state.codec import decode, encode
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.mirror import Mirror, Selected, Stale
from mlflow_monitoring_exporter.state.outbox import Outbox

CONTEXT = RunContext("http://mlflow", "1", 'quoted "name"\n🚀', "a" * 32, "run", {"owner": "me"})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/state.db")
    yield database
    database.close()


def selected(*points: Point, run_id: str = "a" * 32) -> Selected:
    run = Run(run_id, "1", "run", RunStatus.RUNNING, 1, None, {}, points)
    return Selected(run, "experiment", {"owner": "me"}, "champion", points)


def samples(count: int) -> list[Sample]:
    return [Sample(CONTEXT, "loss", step, step, float(step)) for step in range(count)]


contexts = st.builds(
    RunContext,
    *(st.text(st.characters(codec="utf-8")) for _ in range(5)),
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=3),
)
any_samples = st.builds(
    Sample,
    contexts,
    st.text(st.characters(codec="utf-8")),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**53),
    st.floats(),
)


@given(st.lists(any_samples, max_size=20))
def test_what_the_outbox_stores_is_what_comes_back(batch: list[Sample]) -> None:
    back = decode(encode(batch))
    assert len(back) == len(batch)
    for left, right in zip(back, batch, strict=True):
        assert left.run == right.run
        assert (left.key, left.step, left.timestamp_ms) == (right.key, right.step, right.timestamp_ms)
        assert left.value == right.value or (math.isnan(left.value) and math.isnan(right.value))
    assert encode(back) == encode(batch)


def test_batches_leave_in_order_and_only_after_acknowledgement(database: Database) -> None:
    outbox = Outbox(database)
    bit = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, bit, samples(1201), batch_size=500)
    steps: list[int] = []
    while (queued := outbox.head(bit)) is not None:
        again = outbox.head(bit)
        assert again is not None
        assert again.batch.batch_id == queued.batch.batch_id
        steps += [sample.step for sample in queued.batch.samples]
        outbox.acknowledge(queued)
    assert steps == list(range(1201))
    assert outbox.backlog(bit).samples == 0


def test_a_name_keeps_its_bit_and_exporters_do_not_see_each_others_batches(database: Database) -> None:
    outbox = Outbox(database)
    first = outbox.register(["a"])["a"]
    bits = outbox.register(["b", "a"])
    assert bits["a"] == first
    with database.write() as tx:
        outbox.enqueue(tx, bits["b"], samples(1), batch_size=500)
    assert outbox.head(bits["a"]) is None
    assert outbox.head(bits["b"]) is not None


def test_only_the_rejected_samples_become_dead_letters(database: Database) -> None:
    outbox = Outbox(database)
    bit = outbox.register(["sink"])["sink"]
    with database.write() as tx:
        outbox.enqueue(tx, bit, samples(10), batch_size=10)
    queued = outbox.head(bit)
    assert queued is not None
    outbox.set_aside(queued, "HTTP 422", rejected=[3, 7])
    backlog = outbox.backlog(bit)
    assert (backlog.samples, backlog.dead_samples) == (0, 2)


def test_a_failed_transaction_queues_nothing(database: Database) -> None:
    outbox = Outbox(database)
    bit = outbox.register(["sink"])["sink"]

    def fail() -> None:
        with database.write() as tx:
            outbox.enqueue(tx, bit, samples(3), batch_size=500)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert outbox.head(bit) is None


def test_the_state_file_is_its_owners_alone(database: Database) -> None:
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


def test_a_damaged_state_file_is_named_with_advice(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StateCorruptError, match="move it aside"):
        Database(f"sqlite:///{tmp_path}/state.db")


def queue_all(
    database: Database, mirror: Mirror, stale: Sequence[Stale], points: list[Point]
) -> dict[int, list[Point]]:
    fresh: dict[int, list[Point]] = {}
    with database.write() as tx:
        for item in stale:
            fresh |= mirror.unseen(tx, item.series_id, points, [0])
        mirror.complete(tx, stale, 0b1)
    return fresh


def test_a_series_is_stale_until_its_history_is_queued_and_again_when_it_moves(database: Database) -> None:
    mirror = Mirror(database, "server")
    first, second = Point("loss", 1, 10, 1.0), Point("loss", 2, 20, math.nan)
    stale = mirror.record([selected(first)], 1, 0b1, complete=False)
    assert [item.latest.step for item in stale] == [1]
    assert mirror.record([selected(first)], 2, 0b1, complete=False), "not queued yet, so still stale"
    assert queue_all(database, mirror, stale, [first]) == {0: [first]}
    assert mirror.record([selected(first)], 3, 0b1, complete=False) == []
    assert mirror.record([selected(first)], 3, 0b11, complete=False), "a new exporter has seen nothing"
    moved = mirror.record([selected(second)], 4, 0b1, complete=False)
    assert queue_all(database, mirror, moved, [first, second])[0] == [second], "each point is queued once"
    assert mirror.record([selected(second)], 5, 0b1, complete=False) == [], "NaN equals itself here"


def test_a_run_that_a_whole_poll_did_not_meet_is_gone_with_its_series(database: Database) -> None:
    mirror = Mirror(database, "server")
    point = Point("loss", 1, 10, 1.0)
    mirror.record([selected(point), selected(point, run_id="b" * 32)], 1, 0, complete=False)
    mirror.end_poll(1, [Experiment("1", "experiment")])
    assert sorted(run.run_id[0] for run in mirror.runs()) == ["a", "b"]
    poll = mirror.begin_poll()
    mirror.record([selected(point)], poll, 0, complete=False)
    assert mirror.end_poll(poll, [Experiment("1", "experiment")]) == 1
    assert [(run.run_id[0], run.model_stage, dict(run.values)) for run in mirror.runs()] == [
        ("a", "champion", {"loss": 1.0})
    ]


def test_two_servers_share_a_state_file_without_mixing(database: Database) -> None:
    one, two = Mirror(database, "one"), Mirror(database, "two")
    one.record([selected(Point("loss", 1, 10, 1.0))], 1, 0, complete=False)
    one.end_poll(1, [Experiment("1", "experiment")])
    two.end_poll(1, [])
    assert len(list(one.runs())) == 1
    assert list(two.runs()) == []
