"""Rows for people, spreadsheets and programs: one result, five ways to print it."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Column

from mlflow_monitoring_exporter.cli.output import print_json, print_line, print_result, print_table, printable
from mlflow_monitoring_exporter.core.errors import MissingExtraError, QuestionError
from mlflow_monitoring_exporter.core.values import nonfinite_name

#: A row: text, numbers, truths, datetimes, lists of text, or None, by the names of columns.
Row = Mapping[str, Any]

#: What a spreadsheet would take for a formula.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(inf|nan)", re.IGNORECASE)


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"
    markdown = "markdown"


FormatOption = Annotated[
    Format, typer.Option("--output", help="For people, or for programs; parquet goes to a file or a pipe.")
]


def print_rows(rows: Sequence[Row], output: Format, *, empty: str = "nothing found", title: str = "") -> None:
    """All rows have the same columns. As a table without columns that are empty; ``empty`` is said for no rows."""
    match output:
        case Format.json:
            print_json(plain(rows))
        case Format.csv:
            _print_csv(rows)
        case Format.parquet:
            _print_parquet(rows)
        case Format.markdown:
            _print_markdown(rows, title)
        case Format.table:
            _print_table(rows, empty, title)


def plain(value: Any) -> Any:
    """Rows, or anything made of such, as JSON has it: times as text in UTC, what is not finite as its name."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, float):
        return nonfinite_name(value) or value
    return value


def _print_table(rows: Sequence[Row], empty: str, title: str) -> None:
    if title:
        print_line(title, style="bold")
    if not rows:
        print_line(empty, style="dim")
        return
    keys = _filled(rows)
    columns = [
        Column(key.replace("_", " "), overflow="fold", justify="right" if _is_numeric(rows, key) else "left")
        for key in keys
    ]
    print_table(columns, [[_shown(row.get(key)) for key in keys] for row in rows])


def _print_markdown(rows: Sequence[Row], title: str) -> None:
    keys = _filled(rows)
    lines = [f"### {title}", ""] if title else []
    if rows:
        lines += [_line(keys), "|" + "|".join("---:" if _is_numeric(rows, key) else "---" for key in keys) + "|"]
        lines += [_line([_shown(row.get(key)) for key in keys]) for row in rows]
    print_result("\n".join(printable(line) for line in lines) + "\n")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _print_csv(rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = list(rows[0]) if rows else []
    writer.writerow([printable(key) for key in keys])
    for row in rows:
        writer.writerow([_cell(plain(row.get(key))) for key in keys])
    sys.stdout.write(text.getvalue())


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a quote in front, as OWASP advises."""
    if isinstance(value, list | dict):
        value = json.dumps(value)
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _print_parquet(rows: Sequence[Row]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("--output parquet", "parquet", error.name) from None
    if sys.stdout.isatty():
        raise QuestionError("--output parquet is no text: send it to a file, as in > runs.parquet")
    keys = list(rows[0]) if rows else []
    columns = {key: [_stored(row.get(key)) for row in rows] for key in keys}
    table = pa.table({key: _column(pa, column) for key, column in columns.items()})
    sys.stdout.flush()
    pq.write_table(table, sys.stdout.buffer)


def _column(pa: Any, values: Sequence[Any]) -> Any:
    """A column of one type; text where there are several."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values, pa.timestamp("ms", tz="UTC")) if kinds == {datetime} else pa.array(values)


def _stored(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    return json.dumps(plain(value)) if isinstance(value, list | tuple | dict) else value


def _filled(rows: Sequence[Row]) -> list[str]:
    return [key for key in (rows[0] if rows else ()) if any(row.get(key) not in (None, "", [], ()) for row in rows)]


def _is_numeric(rows: Sequence[Row], key: str) -> bool:
    kinds = {type(row.get(key)) for row in rows} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return nonfinite_name(value) or f"{value:.6g}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return str(value)
