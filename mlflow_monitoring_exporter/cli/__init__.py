"""Commands: parse, call, print.

A command imports what it runs after its configuration was read, so that help, a version and the error of a wrong
configuration are there at once.
"""

from __future__ import annotations

import sys

from mlflow_monitoring_exporter.core import shutdown


def main() -> None:
    """Run the command line. Signals are heeded before all that it needs is imported."""
    shutdown.heed()
    try:
        from mlflow_monitoring_exporter.cli.commands import run

        run()
    except shutdown.Interrupted as stop:
        sys.stderr.write(f"error: {stop}; what was queued stays queued\n")
        # A daemon that is told to stop has done nothing wrong, even if it is told before it began.
        code = 0 if sys.argv[1:2] == ["continuous"] else stop.code
        shutdown.leave(code)
        sys.exit(code)


__all__ = ["main"]
