"""``alerts history``: what programs told people, from the file of the tracking library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import EXIT_FAILED, print_error, print_line
from mlflow_monitoring_exporter.cli.rows import Format, FormatOption, print_rows
from mlflow_monitoring_exporter.core.clock import moment, now_ms
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem

alerts_commands = typer.Typer(help="Alerts that programs raised, with the tracking library.", no_args_is_help=True)

_NAME = "alerts.json"
_HOUR_MS = 3_600_000
#: What every alert has; the rest is of its kind.
_COMMON = ("at_ms", "kind", "subject", "severity", "message")


@alerts_commands.command()
@configured
def history(
    options: Options,
    file: Annotated[Path | None, typer.Argument(help="The file. [default: alerts.json in tracking.spool_dir]")] = None,
    last_hours: Annotated[float, typer.Option(help="So far back; 0 means all.", min=0)] = 24,
    subject: Annotated[str | None, typer.Option(help="Only of this model, operation, dataset, ...")] = None,
    output: FormatOption = Format.table,
) -> None:
    """Alerts that were told, the newest last; within the cooldown of the same alert none is."""
    print_history(options, output, file=file, last_hours=last_hours, wanted=lambda a: subject in (None, a["subject"]))


def print_history(
    options: Options,
    output: Format,
    *,
    wanted: Callable[[Mapping[str, Any]], bool],
    file: Path | None = None,
    last_hours: float = 24,
) -> None:
    """Those alerts of the last hours that are ``wanted``; of all time for 0 hours."""
    chosen = file or _configured_file(options)
    since = now_ms() - last_hours * _HOUR_MS if last_hours else 0
    try:
        rows = [_row(alert) for alert in _alerts(chosen) if alert["at_ms"] >= since and wanted(alert)]
    except OSError as error:
        print_error(f"{chosen}: {error.strerror}")
        raise typer.Exit(EXIT_FAILED) from None
    print_rows(rows, output, empty="none was told")
    if output is Format.table and rows:
        counts = [f"{_count(rows, severity)} {severity}" for severity in ("critical", "warning", "info")]
        print_line(", ".join(counts), style="dim")


def _configured_file(options: Options) -> Path:
    spool = options.load_and_log(plugins_of_this_run(), quiet=True).tracking.spool_dir
    if spool is None:
        raise ConfigError([ConfigProblem("tracking.spool_dir", "", "is not set; name the file behind the command")])
    return spool / _NAME


def _alerts(path: Path) -> Iterator[Mapping[str, Any]]:
    """Those lines that are alerts; the last one of a program that was killed may be none. Raises OSError."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            alert = json.loads(line)
        except ValueError:
            continue
        if isinstance(alert, dict) and isinstance(alert.get("at_ms"), int) and set(_COMMON) <= alert.keys():
            yield alert


def _row(alert: Mapping[str, Any]) -> dict[str, Any]:
    more = {key: value for key, value in alert.items() if key not in _COMMON}
    return {
        "at": moment(alert["at_ms"]),
        **{key: str(alert[key]) for key in _COMMON[1:]},
        "more": ", ".join(f"{key}={value}" for key, value in more.items()),
    }


def _count(rows: list[dict[str, Any]], severity: str) -> int:
    return sum(row["severity"] == severity for row in rows)
