"""``verify``: every checksum, and where damage is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_monitoring_tracking.spool.frames import MAGIC, Frame, frame, read_frames
from mlflow_monitoring_tracking.spool.segments import RESERVE_BYTES
from tests.tracking.commands import LOGS, LOGS_FOR_EVER, segments, tracking_spool
from tests.tracking.conftest import Programs

_WHOLE = frame(1, b"a payload of a few bytes")


@pytest.fixture
def segment(offline: Programs) -> Path:
    """The only one of a real run that ended."""
    offline.run(LOGS)
    [path] = segments(offline.spool)
    return path


def _append(path: Path, data: bytes) -> int:
    """Returns where it begins."""
    before = path.stat().st_size
    path.write_bytes(path.read_bytes() + data)
    return before


def test_a_sound_spool_is_sound(offline: Programs, segment: Path) -> None:
    frames = sum(isinstance(found, Frame) for found in read_frames(segment.read_bytes(), len(MAGIC)))
    assert tracking_spool(offline.here, "verify", "tracking").out == f"{frames} frames, 0 damaged\n"


def test_a_damaged_frame_in_the_middle_is_named_by_file_and_byte(offline: Programs, segment: Path) -> None:
    data = bytearray(segment.read_bytes())
    before, hit = [found for found in read_frames(bytes(data), len(MAGIC)) if isinstance(found, Frame)][4:6]
    data[hit.end - 1] ^= 0x40
    segment.write_bytes(data)
    said = tracking_spool(offline.here, "verify", "tracking", "--output", "json", code=1).json
    assert said["damaged"] == 1
    [found] = said["findings"]
    assert (offline.here / found["path"], found["byte"]) == (segment, before.end)
    assert found["bytes"] == hit.end - before.end
    assert f", byte {before.end}: " in tracking_spool(offline.here, "verify", "tracking", code=1).out
    # What can be read is shown all the same, and what cannot is counted.
    status = tracking_spool(offline.here, "status", "tracking", "--output", "json", code=1).json
    assert (status["points"], status["damaged_bytes"]) == (19, found["bytes"])


@pytest.mark.parametrize("cut", [1, 5, len(_WHOLE) // 2, len(_WHOLE) - 1])
def test_a_torn_tail_is_named_and_is_no_damage(offline: Programs, segment: Path, cut: int) -> None:
    begins = _append(segment, _WHOLE[:cut])
    said = tracking_spool(offline.here, "verify", "tracking", "--output", "json").json
    [found] = said["findings"]
    assert (found["byte"], found["bytes"], found["is_damage"]) == (begins, cut, False)
    assert "not whole" in tracking_spool(offline.here, "verify", "tracking").out


@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (_WHOLE[:-1] + b"X", "the checksum is wrong"),
        (b"nonsense that is no frame", "no frame"),
        (bytes(4096), "zeros"),
    ],
)
def test_what_no_process_leaves_by_dying_is_damage(offline: Programs, segment: Path, tail: bytes, what: str) -> None:
    begins = _append(segment, tail)
    [line, _] = tracking_spool(offline.here, "verify", "tracking", code=1).out.splitlines()
    assert f"byte {begins}: " in line
    assert what in line


def test_space_that_was_allocated_for_a_full_disk_is_no_damage(offline: Programs, segment: Path) -> None:
    _append(segment, bytes(RESERVE_BYTES - segment.stat().st_size))
    assert tracking_spool(offline.here, "verify", "tracking").out.endswith(" 0 damaged\n")


def test_a_segment_that_another_one_follows_ends_with_a_whole_frame(offline: Programs, segment: Path) -> None:
    following = segment.with_name(segment.name.replace("-000001", "-000002"))
    following.write_bytes(segment.read_bytes())
    segment.write_bytes(segment.read_bytes()[:-3])
    assert str(segment.name) in tracking_spool(offline.here, "verify", "tracking", code=1).out


@pytest.mark.parametrize("content", [b"something else that is long", bytes(5000)])
def test_a_file_that_is_no_segment_is_damage(offline: Programs, segment: Path, content: bytes) -> None:
    segment.write_bytes(content)
    assert f"{segment.name}, byte 0: " in tracking_spool(offline.here, "verify", "tracking", code=1).out


def test_what_is_being_written_is_sound(offline: Programs) -> None:
    writer = offline.start(LOGS_FOR_EVER)
    try:
        assert writer.stdout is not None
        assert "20\n" in iter(writer.stdout.readline, "")
        assert tracking_spool(offline.here, "verify", "tracking").out.endswith(" 0 damaged\n")
    finally:
        writer.kill()
        writer.communicate()
    assert " 0 damaged" in tracking_spool(offline.here, "verify", "tracking").out
