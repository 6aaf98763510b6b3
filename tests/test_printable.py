"""Nothing that comes from outside reaches a terminal raw."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import structlog
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlflow_monitoring_exporter.app.reports import DestinationReport, OnceReport, ServerReport
from mlflow_monitoring_exporter.cli import output
from mlflow_monitoring_exporter.cli.commands import run
from mlflow_monitoring_exporter.cli.exporters import list_exporters
from mlflow_monitoring_exporter.cli.queue import _print_letters, _print_queues
from mlflow_monitoring_exporter.config.schema import LoggingConfig
from mlflow_monitoring_exporter.core.foreign_text import in_line, in_text
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.pipeline.poll import PollReport
from mlflow_monitoring_exporter.state.dead_letters import DeadLetter
from mlflow_monitoring_exporter.state.ledger import Ledger
from mlflow_monitoring_exporter.telemetry.logs import configure_logging
from tests.parts.command import run as command

#: What a terminal, or an editor, may obey.
ORDERS = [
    *("\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://evil\x1b\\", "\r", "\b", "\x00", "\x7f", "\x85", "\x9b2J", "\t"),
    *("\u202e", "\u2066", "\u2069", "\u200f", "\u2028", "\u2029", "\ud800", "\udfff", "\ufeff"),
    *("[red]", "[link=http://evil]", "[/]", "[/bold]", ":smile:", "\\[", "\n"),
]
TEXT = st.lists(st.sampled_from(ORDERS) | st.text(st.characters(), max_size=5), max_size=6).map("".join)
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def raw(text: str) -> list[str]:
    """What must not be in ``text``."""
    return [c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI)]


def printed(what: Callable[[], object]) -> str:
    """What is printed, on both streams; it is no terminal, so that none of it is color."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        what()
    return out.getvalue()


def report(text: str) -> OnceReport:
    poll = PollReport(
        **{
            **dict.fromkeys(PollReport.__dataclass_fields__, 0),  # type: ignore[arg-type]
            "server": text,
            "enqueued": {text: 1},
            "left_out": {text: 1},
            "seconds": 1.0,
            "at": 1.0,
        }
    )
    where = DestinationReport(text, text, text, "samples", error=text)
    noted = DestinationReport(text, text, text, "series", note=text)
    servers = (ServerReport(text, text, None), ServerReport(text, None, poll, skipped=2))
    return OnceReport(servers, (where, noted), {text: "min", f"{text}2": None})


@given(TEXT)
@settings(deadline=None, max_examples=30)
def test_reports_show_no_control_character_and_obey_no_markup(text: str) -> None:
    for form in output.Output:
        for planned in (False, True):
            assert raw(printed(lambda f=form, p=planned: output.print_report(report(text), f, planned=p))) == []  # type: ignore[misc]


@given(TEXT)
@settings(deadline=None, max_examples=30)
def test_queues_and_dead_letters_show_no_control_character(text: str) -> None:
    ledger = Ledger(**{**dict.fromkeys(Ledger.__dataclass_fields__, 0), "name": text})  # type: ignore[arg-type]
    letter = DeadLetter(**{**dict.fromkeys(DeadLetter.__dataclass_fields__, 0), "exporter": text, "reason": text})  # type: ignore[arg-type]
    assert raw(printed(lambda: _print_queues([ledger]))) == []
    assert raw(printed(lambda: _print_letters([letter]))) == []


@given(TEXT)
@settings(deadline=None, max_examples=50)
def test_results_and_errors_show_no_control_character(text: str) -> None:
    assert raw(printed(lambda: output.print_result(text))) == []
    said = printed(lambda: output.print_error(text))
    assert raw(said) == []
    assert all(line.startswith("error: ") for line in said.splitlines())


@given(st.dictionaries(TEXT, TEXT | st.lists(TEXT)))
@settings(deadline=None, max_examples=30)
def test_json_stays_the_same_json(tree: dict[str, object]) -> None:
    assume("@" not in json.dumps(tree, ensure_ascii=False))  # a password before it would not be shown
    said = printed(lambda: output.print_json(tree))
    assert raw(said) == []
    assert json.loads(said) == json.loads(json.dumps(tree)), "where two halves have become one character"


def test_what_looks_like_markup_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = printed(lambda: output.print_table(["name"], [("[red]a[/] [link=x]b :smile: [/bold]",)]))
    assert "[red]a[/] [link=x]b :smile: [/bold]" in said


def test_a_column_of_an_exporter_of_others_obeys_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        name, mode, origin, contract, problem = "[b]x\x1b[31m", "every", "p\u202e", 1, "broken\r[/]"

    class Plugins:
        def listing(self) -> list[Found]:
            return [Found()]

    monkeypatch.setattr("mlflow_monitoring_exporter.cli.exporters.plugins_of_this_run", Plugins)
    said = printed(lambda: list_exporters(output.Output.table))
    assert raw(said) == []
    assert "[b]x" in said


@pytest.fixture
def logging_restored() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("form", ["json", "console"])
def test_each_event_of_the_log_is_one_line_without_a_control_character(form: str) -> None:
    @given(TEXT)
    @settings(deadline=None, max_examples=30)
    def check(text: str) -> None:
        stream = io.StringIO()
        configure_logging(LoggingConfig.model_validate({"format": form}), Redactor(), stream=stream)
        structlog.get_logger("test").warning(text, key=text, deep={"list": [text]})
        logging.getLogger("foreign").warning("of a library: %s", text)
        said = stream.getvalue()
        assert raw(said) == []
        assert said.count("\n") == 2
        if form == "json":
            event = json.loads(said.splitlines()[0])
            assert event["event"] == event["key"] == json.loads(json.dumps(text))

    check()


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_control_character(form: str) -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig.model_validate({"format": form}), Redactor(), stream=stream)
    try:
        raise ValueError("\x1b[2J\u202e")  # noqa: TRY301
    except ValueError:
        structlog.get_logger("test").exception("crashed")
    assert "ValueError" in stream.getvalue()
    assert raw(stream.getvalue()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[31mno-such-command"],
        ["check", "--\x1b[31m\u202e"],
        ["check", "--output", "\x1b[31m\r"],
        ["queue", "show", "\x9b2J"],
        ["check", "--set", "\x1b[31m\u2028=1"],
        ["check", "--config", "/no/\x1b[31m\u202e.yaml"],
        ["backfill", "--label", "\x1b[31m=1"],
        ["backfill", "--to", "/no/\x1b[31m"],
        ["config", "validate", "--log-level", "\x1b[31m"],
        ["check", "--tracking-uri", "http://\x1b[31m"],
    ],
)
def test_an_error_does_not_repeat_control_characters_that_were_typed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mlflow-monitoring-exporter", *arguments])

    def typed() -> None:
        with pytest.raises(SystemExit) as caught:
            run()
        assert caught.value.code not in (0, None)

    assert raw(printed(typed)) == []


@given(TEXT)
@settings(deadline=None, max_examples=50)
def test_only_what_a_terminal_would_obey_is_changed(text: str) -> None:
    assert raw(in_text(text)) == []
    assert raw(in_line(text)) == []
    assert "\n" not in in_line(text)
    kept = re.sub(r"\\u[0-9a-f]{4}", "", in_line(text))
    assert all(c in text for c in kept)
    assert in_line("Größe 精度 🚀 \u200d \u0627") == "Größe 精度 🚀 \u200d \u0627"


def test_a_stream_that_cannot_take_a_character_gets_its_escape(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("exporters: {größe: {type: file, path: x}}\n", encoding="utf-8")
    done = command("config", "show", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert "bug" not in done.err
    assert done.out.isascii()
