"""``queue list | show | replay | purge``"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column

from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import (
    EXIT_FAILED,
    Output,
    OutputOption,
    print_error,
    print_json,
    print_result,
    print_table,
)
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.exporters.record import iso_utc, to_record

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.state.database import Database
    from mlflow_monitoring_exporter.state.dead_letters import DeadLetter, DeadLetters
    from mlflow_monitoring_exporter.state.ledger import Ledger

queue_commands = typer.Typer(
    help="Look at what waits, and at dead letters; safe beside a running daemon.", no_args_is_help=True
)

Numbers = Annotated[list[int] | None, typer.Argument(help="Dead letters, by the numbers that list shows.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
OfExporter = Annotated[str | None, typer.Option("--exporter", help="With --all: only those of this exporter.")]


@contextmanager
def _state(options: Options) -> Iterator[tuple[Database, DeadLetters]]:
    state = options.load_and_log(plugins_of_this_run(), quiet=True).state
    from mlflow_monitoring_exporter.state.database import Database, where
    from mlflow_monitoring_exporter.state.dead_letters import DeadLetters

    database = Database.existing(state.url, state.secret("password").get)
    if database is None:
        raise StateError(f"nothing was queued in {where(state.url)} yet, or state.url is another")
    try:
        yield database, DeadLetters(database)
    finally:
        database.close()


@queue_commands.command("list")
@configured
def list_(options: Options, output: OutputOption = Output.table) -> None:
    """What waits for each exporter, and every dead letter."""
    with _state(options) as (database, dead_letters):
        from mlflow_monitoring_exporter.state.ledger import ledgers

        queues, letters = ledgers(database), dead_letters.all()
    if output is Output.json:
        print_json({"queues": [asdict(queue) for queue in queues], "dead_letters": [_tree(one) for one in letters]})
        return
    _print_queues(queues)
    if letters:
        print_result("")
        _print_letters(letters)


@queue_commands.command()
@configured
def show(options: Options, number: Annotated[int, typer.Argument(help="The number that list shows.")]) -> None:
    """One dead letter with its samples, as JSON."""
    with _state(options) as (_, dead_letters):
        found = next((one for one in dead_letters.all() if one.number == number), None)
        payload = dead_letters.payload(number)
    if found is None or payload is None:
        print_error(f"there is no dead letter {number}; queue list shows which there are")
        raise typer.Exit(EXIT_FAILED)
    from mlflow_monitoring_exporter.state.batch_codec import decode

    print_json({**_tree(found), "metrics": [to_record(sample) for sample in decode(payload.content)]})


@queue_commands.command()
@configured
def replay(
    options: Options,
    numbers: Numbers = None,
    every: All = False,
    exporter: OfExporter = None,
) -> None:
    """Queue dead letters again, behind what waits already."""
    with _state(options) as (_, dead_letters):
        chosen = _chosen(dead_letters, numbers, exporter, every=every)
        moved = dead_letters.replay(chosen)
    from mlflow_monitoring_exporter.telemetry.audit import audit

    audit("dead letters replayed", numbers=chosen, samples=moved)
    print_result(f"{moved} samples of {len(chosen)} dead letters requeued")


@queue_commands.command()
@configured
def purge(
    options: Options,
    numbers: Numbers = None,
    every: All = False,
    exporter: OfExporter = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters. Their samples are lost, and counted as dropped."""
    with _state(options) as (_, dead_letters):
        chosen = _chosen(dead_letters, numbers, exporter, every=every)
        if chosen and not yes:
            typer.confirm(f"Permanently delete {len(chosen)} dead letters?", abort=True)
        lost = dead_letters.purge(chosen)
    from mlflow_monitoring_exporter.telemetry.audit import audit

    audit("dead letters purged", numbers=chosen, samples=lost)
    print_result(f"{lost} samples of {len(chosen)} dead letters deleted")


def _chosen(dead_letters: DeadLetters, numbers: list[int] | None, exporter: str | None, *, every: bool) -> list[int]:
    letters = dead_letters.all()
    if every == bool(numbers):
        raise typer.BadParameter("name dead letters by their numbers, or all of them with --all")
    if every:
        return [one.number for one in letters if exporter in (None, one.exporter)]
    unknown = sorted(set(numbers or ()) - {one.number for one in letters})
    if unknown:
        raise typer.BadParameter(f"there is no dead letter {', '.join(map(str, unknown))}")
    return numbers or []


def _tree(letter: DeadLetter) -> dict[str, object]:
    return {
        "number": letter.number,
        "exporter": letter.exporter,
        "samples": letter.samples,
        "status": letter.status,
        "reason": letter.reason,
        "queued": iso_utc(letter.created_ms),
        "first_attempt": iso_utc(letter.first_ms),
        "last_attempt": iso_utc(letter.last_ms),
    }


def _print_queues(queues: list[Ledger]) -> None:
    titles = ("waiting", "bytes", "oldest", "dead letters", "delivered", "dropped")
    rows = []
    for queue in queues:
        oldest = "" if queue.oldest_ms is None else f"{max(0, now_ms() - queue.oldest_ms) / 1000:.0f} s"
        figures = (
            queue.queued,
            queue.queued_bytes,
            oldest,
            queue.dead,
            queue.delivered,
            queue.purged + queue.overflowed,
        )
        rows.append((queue.name, *map(str, figures)))
    print_table(["exporter", *(Column(title, justify="right") for title in titles)], rows)


def _print_letters(letters: list[DeadLetter]) -> None:
    print_table(
        ["no.", "exporter", "samples", "last attempt", "reason"],
        [(str(one.number), one.exporter, str(one.samples), iso_utc(one.last_ms), one.reason) for one in letters],
    )
