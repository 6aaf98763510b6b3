"""``audit verify | show``"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import (
    EXIT_FAILED,
    Output,
    OutputOption,
    plural,
    print_error,
    print_json,
    print_result,
    printable,
)
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem

audit_commands = typer.Typer(help="Look at the audit file, and whether it is whole.", no_args_is_help=True)

File = Annotated[Path | None, typer.Argument(help="The audit file. [default: logging.audit_file]")]


@audit_commands.command()
@configured
def verify(options: Options, file: File = None, output: OutputOption = Output.table) -> None:
    """Find lines that were changed, removed or cut off, in all parts of the audit file.

    Exit code 0: the chain is whole. 1: it is not, or cannot be read.
    """
    from mlflow_monitoring_exporter.telemetry.audit_chain import parts
    from mlflow_monitoring_exporter.telemetry.audit_chain import verify as verify_chain

    chosen = _file(options, file)
    if not parts(chosen):
        print_error(f"{chosen}: there is no such file, and no part of one")
        raise typer.Exit(EXIT_FAILED)
    try:
        found = verify_chain(chosen)
    except OSError as error:
        print_error(f"{error.filename}: {error.strerror}")
        raise typer.Exit(EXIT_FAILED) from None
    if output is Output.json:
        faults = [{**asdict(fault), "file": str(fault.file)} for fault in found.faults]
        print_json({"lines": found.lines, "first": found.first, "faults": faults})
    else:
        for fault in found.faults:
            print_result(f"{fault.file}, line {fault.line}: {fault.what}")
        whole = "the chain is whole" if not found.faults else plural(len(found.faults), "fault")
        print_result(f"{plural(found.lines, 'line')} from number {found.first}: {whole}")
    raise typer.Exit(EXIT_FAILED if found.faults else 0)


@audit_commands.command()
@configured
def show(
    options: Options,
    file: File = None,
    last: Annotated[int, typer.Option(min=1, help="So many lines, the newest last.")] = 20,
) -> None:
    """The newest lines of the audit file, as they are: JSON."""
    from mlflow_monitoring_exporter.telemetry.audit_chain import lines, parts

    chosen, found = _file(options, file), list[str]()
    for path in reversed(parts(chosen)):
        found = [*lines(path), *found]
        if len(found) >= last:
            break
    for line in found[-last:]:
        print_result(printable(line))


def _file(options: Options, file: Path | None) -> Path:
    if file is not None:
        return file
    configured_file = options.load_and_log(plugins_of_this_run(), quiet=True).logging.audit_file
    if configured_file is None:
        raise ConfigError([ConfigProblem("logging.audit_file", "", "is not set; name the file behind the command")])
    return configured_file
