"""What commands print: results on standard output, errors on standard error, and on neither secrets, or control
characters of others.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from mlflow_monitoring_exporter.core.errors import MonitoringExporterError
from mlflow_monitoring_exporter.core.foreign_text import in_line, in_text
from mlflow_monitoring_exporter.core.redaction import Redactor

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.app.reports import DestinationReport, OnceReport, ServerReport

#: Knows the secrets of every configuration that this process has loaded.
redactor = Redactor()

#: Metric keys that are named in one line.
_KEYS = 20

#: Everything delivered; something was not; the configuration is wrong (sysexits.h).
EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, os.EX_CONFIG


class Output(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"


OutputOption = Annotated[Output, typer.Option(help="For people, or for machines.")]


def printable(text: str) -> str:
    """One line of text from anywhere, without secrets, and without anything that a terminal would obey."""
    return in_line(redactor.text(text))


def print_result(text: str) -> None:
    """Plain text on standard output."""
    sys.stdout.write(in_text(redactor.text(text.rstrip("\n"))) + "\n")


def print_error(message: object) -> None:
    """``error: ...`` on standard error, one line per line of ``message``."""
    for line in str(message).rstrip("\n").split("\n"):
        sys.stderr.write(f"error: {printable(line)}\n")


def print_warning(message: object) -> None:
    """``warning: ...`` on standard error."""
    sys.stderr.write(f"warning: {printable(str(message))}\n")


def print_json(value: Any) -> None:
    # What a terminal would obey is in strings only, and escaped there as JSON has it.
    print_result(json.dumps(redactor.value(value), indent=2, ensure_ascii=not _takes_unicode(sys.stdout)))


def _takes_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def print_line(*parts: str | Text, style: str = "") -> None:
    """One line on standard output, of any length."""
    line = Text(style=style)
    for part in parts:
        line.append_text(_cell(part))
    Console().print(line, highlight=False, soft_wrap=True)


def print_table(columns: Sequence[str | Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table on standard output. Nothing in a cell is markup: a key may look like it."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(_cell, row))
    Console().print(table)


def _cell(content: str | Text) -> Text:
    text = content if isinstance(content, Text) else Text(content)
    return Text(printable(text.plain), style=text.style)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` once the block ends well; otherwise nothing happened."""
    beside = path.with_name(f".{path.name}.new")
    try:
        try:
            with beside.open("wb") as file:
                yield file
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MonitoringExporterError(f"cannot write {path}: {error.strerror}") from None


def print_report(report: OnceReport, output: Output, *, planned: bool = False) -> None:
    """The result of export-once, or with ``planned`` of check; what failed again on standard error."""
    if output is Output.json:
        print_json(to_tree(report))
    else:
        _print_table(report, planned=planned)
    for line in _failures(report, planned=planned):
        print_error(line)


def to_tree(report: OnceReport) -> dict[str, Any]:
    """The report as JSON shows it; docs/reference/commands.md describes it."""
    servers = [_server_tree(server) for server in report.servers]
    return {
        "ok": report.ok,
        "mlflow": servers[0] if len(servers) == 1 else servers,
        "exporters": [asdict(destination) for destination in report.destinations],
        **({} if report.better is None else {"better": dict(report.better)}),
    }


def _server_tree(report: ServerReport) -> dict[str, Any]:
    poll = asdict(report.poll) if report.poll else None
    if poll is not None:
        for name in ("enqueued", "full", "unfinished", "renewed", "server", "most"):
            del poll[name]
        poll["seconds"] = round(poll["seconds"], 3)
    return {"server": report.server, "error": report.error, "skipped": report.skipped, "poll": poll}


def _print_table(report: OnceReport, *, planned: bool) -> None:
    for server in report.servers:
        if (poll := server.poll) is None:
            continue
        read = f"{plural(poll.experiments, 'experiment')}, {plural(poll.runs, 'run')}, {poll.series} series"
        print_line("MLflow ", Text(server.server, "bold"), f": {read}, read in {poll.seconds:.1f} s")
    columns = [
        Column("exporter"),
        Column("to", overflow="fold"),
        Column("would send" if planned else "delivered", justify="right"),
        *([] if planned else [Column("waiting", justify="right")]),
        Column("result"),
    ]
    print_table(columns, [_row(destination, planned=planned) for destination in report.destinations])
    for line in _directions(report.better or {}):
        print_line(line, style="dim")


def _row(destination: DestinationReport, *, planned: bool) -> Sequence[str | Text]:
    return [
        destination.name,
        destination.target,
        "" if destination.note else plural(destination.delivered, destination.unit),
        *([] if planned else [str(destination.waiting) if destination.unit == "samples" else ""]),
        _result(destination, planned=planned),
    ]


def _directions(better: Mapping[str, str | None]) -> Iterable[str]:
    """Which values of which keys are better; what is wrong here is made right by export.metrics.direction."""
    for word, text in (("max", "more is better"), ("min", "less is better"), (None, "direction unknown")):
        if keys := [key for key, found in better.items() if found == word]:
            shown = ", ".join(keys[:_KEYS]) + (f" and {len(keys) - _KEYS} more" if len(keys) > _KEYS else "")
            yield f"{text}: {shown}"


def _result(destination: DestinationReport, *, planned: bool) -> Text:
    if destination.error is not None:
        return Text("failed", "red")
    if destination.set_aside:
        return Text(f"{destination.set_aside} refused", "red")
    if destination.note is not None:
        return Text(destination.note, "dim")
    return Text("reachable" if planned else "ok", "green")


def _failures(report: OnceReport, *, planned: bool) -> Iterable[str]:
    for server in report.servers:
        who = f"mlflow {server.server}" if len(report.servers) > 1 else "mlflow"
        if server.error is not None:
            yield f"{who}: {server.error}"
        if server.skipped:
            yield f"{who}: {plural(server.skipped, 'record')} could not be read; --log-level warning says which"
    for destination in report.destinations:
        if destination.error is not None:
            kept = (
                "" if planned or not destination.waiting else f"; {destination.waiting} samples wait for the next run"
            )
            yield f"exporter {destination.name}: {destination.error}{kept}"
        if destination.set_aside:
            refused = plural(destination.set_aside, "samples")
            yield f"exporter {destination.name}: {refused} refused, kept as dead letters"


def plural(number: int, unit: str) -> str:
    singular = unit.removesuffix("s") if unit != "series" else unit
    plural = unit if unit.endswith("s") else f"{unit}s"
    return f"{number} {singular if number == 1 else plural}"
