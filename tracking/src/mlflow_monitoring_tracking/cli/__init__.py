"""``python -m mlflow_monitoring_tracking`` and ``tracking-spool``: look at a spool, and send it."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow_monitoring_tracking import __version__
from mlflow_monitoring_tracking.checking import setup_tracking
from mlflow_monitoring_tracking.cli.inspecting import show, status, verify
from mlflow_monitoring_tracking.cli.output import complain, say
from mlflow_monitoring_tracking.cli.requeueing import requeue_command
from mlflow_monitoring_tracking.cli.sending import sync
from mlflow_monitoring_tracking.configuration import ConfigurationError
from mlflow_monitoring_tracking.spool.reader import SpoolFormatError

#: Exit codes: something is left or damaged; the configuration is wrong; Ctrl-C.
EXIT_LEFT = 1
EXIT_CONFIGURATION = 78
EXIT_INTERRUPTED = 130


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

    def output(made: argparse.ArgumentParser) -> None:
        made.add_argument("--output", choices=("table", "json"), default="table", help="how to print (table)")

    sending = command("sync", sync, "Send everything to the configured back ends, and end the runs of dead processes.")
    directory(sending)
    sending.add_argument("--watch", action="store_true", help="go on until Ctrl-C or SIGTERM")
    sending.add_argument("--config", type=Path, metavar="FILE", help="instead of TRACKING_CONFIG_PATH")
    showing = command("show", show, "Show the runs, or one of them.")
    directory(showing)
    output(showing)
    showing.add_argument("--run", metavar="KEY", help="all that one run logged")
    counting = command("status", status, "Show what became of all points, for each back end.")
    directory(counting)
    output(counting)
    verifying = command("verify", verify, "Check every frame; exit code 1 if one is damaged.")
    directory(verifying)
    output(verifying)
    requeueing = command("requeue", requeue_command, "Send once more what back ends permanently rejected.")
    directory(requeueing)
    requeueing.add_argument("--run", metavar="KEY", help="of this run only")
    requeueing.add_argument("--back-end", metavar="NAME", help="by this back end only")
    made = command("setup", _setup, "Write a configuration file with comments, and try every back end.")
    made.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="TRACKING_CONFIG_PATH, or tracking_config.yaml"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error is a line, and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal may know ASCII only
    threading.excepthook = lambda thrown: complain(f"error: {thrown.exc_value!r}")
    wanted = parser().parse_args(arguments)
    try:
        code = int(wanted.call(wanted))
        sys.stdout.flush()
    except ConfigurationError as error:
        for problem in error.problems:
            complain(f"error: {problem}")
        code = EXIT_CONFIGURATION
    except BrokenPipeError:
        # Nobody reads on, which is no reason for a traceback at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_LEFT
    except (OSError, SpoolFormatError) as error:
        complain(f"error: {_said(error)}")
        code = EXIT_LEFT
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    sys.exit(code)


def _said(error: Exception) -> str:
    """Without the number that Python puts before the system's words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _setup(wanted: argparse.Namespace) -> int:
    def tell(line: str) -> None:
        say(line)
        sys.stdout.flush()  # the next back end may take seconds

    return 0 if setup_tracking(wanted.file, tell) else EXIT_LEFT
