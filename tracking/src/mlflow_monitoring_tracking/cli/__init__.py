"""``python -m mlflow_monitoring_tracking`` and ``tracking-spool``: look at a spool, and send it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow_monitoring_tracking import __version__
from mlflow_monitoring_tracking.cli.inspecting import show, status, verify
from mlflow_monitoring_tracking.cli.output import printable
from mlflow_monitoring_tracking.cli.sending import setup, sync
from mlflow_monitoring_tracking.configuration import ConfigurationError
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError

#: Exit codes: something is left or damaged; the configuration is wrong.
EXIT_LEFT = 1
EXIT_CONFIGURATION = 78
_INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser("tracking-spool", description="Look at a spool of experiments, and send it.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(call=run)
        return made

    def directory(made: argparse.ArgumentParser) -> None:
        made.add_argument("directory", type=Path, metavar="DIR", help="a tracking_dir, or the spool in it")
        made.add_argument("--output", choices=("table", "json"), default="table", help="how to print (table)")

    sending = command("sync", sync, "Send everything to the configured back ends, and end the runs of dead processes.")
    sending.add_argument("directory", type=Path, metavar="DIR", help="a tracking_dir, or the spool in it")
    sending.add_argument("--watch", action="store_true", help="go on until Ctrl-C")
    sending.add_argument("--config", type=Path, metavar="FILE", help="instead of TRACKING_CONFIG_PATH")
    showing = command("show", show, "Show the runs, or one of them.")
    directory(showing)
    showing.add_argument("--run", metavar="KEY", help="all that one run logged")
    directory(command("status", status, "Show what became of what was logged, for each back end."))
    directory(command("verify", verify, "Check every frame; exit code 1 if one is damaged."))
    made = command("setup", setup, "Write a configuration file with comments, and try every back end.")
    made.add_argument("file", type=Path, nargs="?", default=Path("tracking_config.yaml"), metavar="FILE")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error is a line, and an exit code."""
    wanted = parser().parse_args(arguments)
    try:
        code = int(wanted.call(wanted))
        sys.stdout.flush()
    except ConfigurationError as error:
        for problem in error.problems:
            sys.stderr.write(f"error: {printable(problem)}\n")
        code = EXIT_CONFIGURATION
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on: no reason for a traceback
        code = EXIT_LEFT
    except (OSError, SpoolFormatError) as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        code = EXIT_LEFT
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)
