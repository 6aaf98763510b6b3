"""Frames and records: what was written is read, and damage costs what it hit."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_monitoring_tracking.spool.frames import HEAD_SIZE, Damage, Frame, frame, read_frames
from mlflow_monitoring_tracking.spool.records import (
    Artifact,
    Ended,
    Lost,
    Opened,
    Params,
    Point,
    Points,
    Record,
    Tags,
    decode,
    encode,
    encode_point,
)

_TEXT = st.text(max_size=30)
_INT = st.integers(-(2**62), 2**62)
_POINT = st.tuples(
    st.text(max_size=20), st.floats(), st.none() | st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 2**52)
)
_RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(Params, st.dictionaries(_TEXT, _TEXT, max_size=4)),
    st.builds(Tags, st.dictionaries(_TEXT, _TEXT, max_size=4)),
    st.builds(Artifact, _TEXT, _TEXT, _INT, st.none() | _TEXT),
    st.builds(Ended, st.sampled_from(["FINISHED", "FAILED", "KILLED"]), _INT),
    st.builds(Lost, _INT, _INT, _TEXT),
    st.builds(Opened, st.just(1), _TEXT, _TEXT, st.none() | _TEXT, _INT, st.booleans(), _TEXT, _INT, st.none() | _INT),
    _POINT.map(lambda p: Points((Point(*p),))),
)


def _read(data: bytes, start: int = 0) -> list[Any]:
    return list(read_frames(data, start))


def _same(one: Record | None, other: Record) -> bool:
    if isinstance(one, Points) and isinstance(other, Points):
        return [(p.key, p.step, p.time_ms, struct.pack("d", p.value)) for p in one.points] == [
            (p.key, p.step, p.time_ms, struct.pack("d", p.value)) for p in other.points
        ]
    return one == other


@given(st.lists(_RECORDS, max_size=8))
def test_what_was_written_is_read(records: list[Record]) -> None:
    frames = _read(b"".join(map(encode, records)))
    assert all(isinstance(found, Frame) for found in frames)
    assert len(frames) == len(records)
    assert all(_same(decode(found.kind, found.payload), record) for found, record in zip(frames, records, strict=True))


@given(st.lists(_RECORDS, min_size=1, max_size=5), st.data())
def test_of_a_file_that_ends_anywhere_all_whole_frames_are_read(records: list[Record], data: st.DataObject) -> None:
    frames = [encode(record) for record in records]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    ends = [sum(map(len, frames[: n + 1])) for n in range(len(frames))]
    assert [found.end for found in _read(whole[:cut])] == [end for end in ends if end <= cut]


@given(st.lists(_RECORDS, min_size=3, max_size=6), st.data())
def test_a_damaged_frame_costs_itself_and_no_other(records: list[Record], data: st.DataObject) -> None:
    frames = [encode(record) for record in records]
    hit = data.draw(st.integers(0, len(frames) - 2))
    byte = data.draw(st.integers(0, len(frames[hit]) - 1))
    wrong = bytearray(frames[hit])
    wrong[byte] ^= data.draw(st.integers(1, 255))
    frames[hit] = bytes(wrong)
    found = _read(b"".join(frames))
    expected = [f[HEAD_SIZE:] for n, f in enumerate(frames) if n != hit]
    assert [f.payload for f in found if isinstance(f, Frame)] == expected
    assert sum(d.end - d.start for d in found if isinstance(d, Damage)) == len(frames[hit])


def test_zeros_behind_the_last_frame_are_space_that_was_allocated() -> None:
    one = encode(Ended("FINISHED", 1))
    assert [found.end for found in _read(one + bytes(100_000))] == [len(one)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324])
def test_a_number_keeps_its_bits(value: float) -> None:
    [found] = _read(encode_point("k", value, None, 7))
    record = decode(found.kind, found.payload)
    assert isinstance(record, Points)
    assert struct.pack("d", record.points[0].value) == struct.pack("d", value)


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"nonsense", b'{"status": 1}', b"\xff\xfe"])
def test_a_payload_that_is_not_what_its_kind_says_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode(6, payload)
    with pytest.raises(ValueError):
        decode(1, payload)


def test_a_kind_of_a_later_release_is_passed_over() -> None:
    [found] = _read(frame(200, b"something"))
    assert decode(found.kind, found.payload) is None
