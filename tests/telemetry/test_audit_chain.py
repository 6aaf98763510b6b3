"""The audit file: a line that was changed, removed or cut off is found and located; old parts go, by their dates."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.config.schema import LoggingConfig
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.telemetry import audit_chain
from mlflow_monitoring_exporter.telemetry.audit import audit
from mlflow_monitoring_exporter.telemetry.audit_chain import AuditFile, append, parts, verify
from mlflow_monitoring_exporter.telemetry.daily_file import DailyFile
from mlflow_monitoring_exporter.telemetry.logs import configure_logging
from tests.parts.command import run

DAY = 86_400
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
YEARS = 2557


def written(file: Path, texts: list[str]) -> None:
    for text in texts:
        append(file, json.dumps({"event": text}), YEARS)


def found(file: Path) -> list[tuple[str, int, str]]:
    return [(fault.file.name, fault.line, fault.what) for fault in verify(file).faults]


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines(keepends=True)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_what_was_written_is_whole_whatever_it_says(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("audit") / "audit.log"
    written(file, texts)
    assert found(file) == []
    assert [json.loads(line)["event"] for line in lines(file)] == texts
    assert [json.loads(line)["number"] for line in lines(file)] == list(range(1, len(texts) + 1))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.integers(0, 10_000), by=st.integers(1, 255))
def test_a_changed_byte_is_found_wherever_it_is(where: int, by: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("audit") / "audit.log"
    written(file, ["one", "two", "three"])
    data = bytearray(file.read_bytes())
    at = where % len(data)
    changed = data[:at].count(b"\n") + 1
    data[at] ^= by
    file.write_bytes(data)
    faults = found(file)
    assert faults
    assert min(line for _, line, _ in faults) in {changed, changed + 1}


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (lambda all_lines: all_lines[:1] + all_lines[2:], [("audit.log", 2, "line 2 is missing before it")]),
        (lambda all_lines: all_lines[:1] + all_lines[4:], [("audit.log", 2, "lines 2 to 4 are missing before it")]),
        (lambda all_lines: all_lines[:-1], [("audit.log", 4, "line 5 is missing behind it: the end is cut off")]),
        (
            lambda all_lines: all_lines[:2],
            [("audit.log", 2, "lines 3 to 5 are missing behind it: the end is cut off")],
        ),
        (
            lambda all_lines: [*all_lines[:4], all_lines[4][:30]],
            [
                ("audit.log", 5, "is not a line of the chain, or was changed"),
                ("audit.log", 5, "line 5 is missing behind it: the end is cut off"),
            ],
        ),
        (
            lambda all_lines: [all_lines[0], all_lines[2], all_lines[1], *all_lines[3:]],
            [
                ("audit.log", 2, "line 2 is missing before it"),
                ("audit.log", 3, "does not follow the line before it"),
                ("audit.log", 4, "line 3 is missing before it"),
            ],
        ),
        (lambda all_lines: [*all_lines, all_lines[-1]], [("audit.log", 6, "does not follow the line before it")]),
    ],
)
def test_lines_that_are_removed_cut_off_moved_or_repeated_are_located(
    change: Callable[[list[str]], list[str]], faults: list[tuple[str, int, str]], tmp_path: Path
) -> None:
    file = tmp_path / "audit.log"
    written(file, ["one", "two", "three", "four", "five"])
    file.write_text("".join(change(lines(file))))
    assert found(file) == faults


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    append(file, '{"event": "a\x85b\u2028c\x0bd"}', YEARS)
    append(file, '{"event": "next"}', YEARS)
    assert found(file) == []
    assert verify(file).lines == 2


@given(length=st.integers(1, 200), told=st.booleans())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_kill_in_the_middle_of_a_line_costs_that_line_alone(
    length: int, told: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Killed within the third line, or behind it, before the head was moved."""
    file = tmp_path_factory.mktemp("audit") / "audit.log"
    written(file, ["one", "two"])
    head = (file.parent / "audit.log.head").read_bytes()
    append(file, '{"event": "three"}', YEARS)
    whole = lines(file)
    torn = whole[2].encode() if told else whole[2].encode()[: min(length, len(whole[2]) - 2)]
    file.write_bytes("".join(whole[:2]).encode() + torn)
    (file.parent / "audit.log.head").write_bytes(head)
    written(file, ["four", "five"])
    faults = [] if told else [("audit.log", 3, "is not a line of the chain, or was changed")]
    assert found(file) == faults
    readable = [json.loads(line) for at, line in enumerate(lines(file)) if told or at != 2]
    assert [line["event"] for line in readable] == ["one", "two", *(["three"] if told else []), "four", "five"]
    assert [line["number"] for line in readable] == list(range(1, len(readable) + 1))


def test_a_lost_head_is_told_and_the_chain_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    written(file, ["one", "two"])
    (tmp_path / "audit.log.head").unlink()
    [(name, _, what)] = found(file)
    assert (name, "an end that is cut off would not be found" in what) == ("audit.log.head", True)
    written(file, ["three"])
    assert found(file) == []


def test_a_forged_line_with_a_chain_of_its_own_does_not_fit_the_head(tmp_path: Path) -> None:
    file, other = tmp_path / "audit.log", tmp_path / "other" / "audit.log"
    other.parent.mkdir()
    written(file, ["one", "two"])
    written(other, ["one", "forged"])
    file.write_text(other.read_text())
    assert found(file) == [("audit.log", 2, "is not the line that was written last")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [NOON]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_parts_are_of_one_day_the_chain_goes_through_and_old_ones_go(tmp_path: Path, clock: list[float]) -> None:
    file = tmp_path / "audit.log"
    for day in range(5):
        clock[0] = NOON + day * DAY
        for event in "xy":
            append(file, f'{{"event": "{event}"}}', 3)
            os.utime(file, (clock[0], clock[0]))
    assert [path.name for path in parts(file)] == [f"audit.log.2026-03-0{day}" for day in (2, 3, 4)] + ["audit.log"]
    verdict = verify(file)
    assert (verdict.lines, verdict.first, verdict.faults) == (8, 3, [])
    (tmp_path / "audit.log.2026-03-03").unlink()
    assert found(file) == [("audit.log.2026-03-04", 1, "lines 5 to 6 are missing before it")]
    clock[0] += 3000 * DAY  # no process ran at any midnight of these years
    append(file, '{"event": "z"}', 3)
    assert [path.name for path in parts(file)] == ["audit.log"]


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    processes = [
        multiprocessing.get_context("fork").Process(target=written, args=(file, [f"{number}"] * 20))
        for number in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    verdict = verify(file)
    assert (verdict.lines, verdict.faults) == (80, [])


def test_what_the_product_audits_is_chained_and_has_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "audit.log"
    redactor = Redactor()
    redactor.learn(["planted-secret"])
    configure_logging(LoggingConfig(audit_file=file), redactor)
    try:
        audit("configured", what="planted-secret")
        audit("replayed", number=3)
    finally:
        configure_logging(LoggingConfig(), redactor)
    said = [json.loads(line) for line in lines(file)]
    assert [one["event"] for one in said] == ["configured", "replayed"]
    assert "planted-secret" not in file.read_text()
    assert verify(file).faults == []


def test_a_full_disk_ends_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = AuditFile(tmp_path / "audit.log", 3)
    told: list[logging.LogRecord] = []
    monkeypatch.setattr(handler, "handleError", told.append)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit_chain, "append", full)
    handler.emit(logging.makeLogRecord({"msg": "x"}))
    assert len(told) == 1


def test_old_parts_of_the_log_go_by_their_date_when_it_is_opened(tmp_path: Path) -> None:
    file, today = tmp_path / "daemon.log", datetime.now(UTC).date()
    for days in (0, 1, 89, 90, 91, 400):
        (tmp_path / f"daemon.log.{today - timedelta(days=days)}").write_text("x")
    for other in ("daemon.log.2026-02-31", "daemon.log.old", "other.log.2001-01-01", "daemon.log"):
        (tmp_path / other).write_text("mine")
    handler = DailyFile(file, 90)
    handler.close()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        *(f"daemon.log.{today - timedelta(days=days)}" for days in (0, 1, 89, 90)),
        *("daemon.log.2026-02-31", "daemon.log.old", "other.log.2001-01-01", "daemon.log"),
    }


def test_the_log_of_another_day_is_rotated_by_the_first_line_of_this_one(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    file.write_text("yesterday\n")
    yesterday = time.time() - DAY
    os.utime(file, (yesterday, yesterday))
    handler = DailyFile(file, 90)
    handler.emit(logging.makeLogRecord({"msg": "today"}))
    handler.close()
    assert file.read_text() == "today\n"
    assert (tmp_path / f"daemon.log.{datetime.fromtimestamp(yesterday, UTC).date()}").read_text() == "yesterday\n"


def test_the_command_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    written(file, ["one", "two", "three"])
    (tmp_path / "config.yaml").write_text("logging: {audit_file: audit.log}\n")
    done = run("audit", "verify", cwd=tmp_path)
    assert (done.code, done.out) == (0, "3 lines from number 1: the chain is whole\n")
    assert json.loads(run("audit", "show", "--last", "1", cwd=tmp_path).out)["event"] == "three"
    file.write_text(file.read_text().replace("two", "2"))
    done = run("audit", "verify", cwd=tmp_path)
    assert (done.code, done.out) == (1, "audit.log, line 2: was changed\n3 lines from number 1: 1 fault\n")
    done = run("audit", "verify", "audit.log", "--output", "json", cwd=tmp_path)
    assert json.loads(done.out) == {
        "lines": 3,
        "first": 1,
        "faults": [{"file": "audit.log", "line": 2, "what": "was changed"}],
    }


def test_the_command_without_a_file_says_what_to_do(tmp_path: Path) -> None:
    done = run("audit", "verify", cwd=tmp_path)
    assert (done.code, done.err) == (
        78,
        "error: logging.audit_file: is not set; name the file behind the command\n",
    )
    done = run("audit", "verify", "none.log", cwd=tmp_path)
    assert (done.code, done.err) == (1, "error: none.log: there is no such file, and no part of one\n")
