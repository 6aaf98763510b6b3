"""Who changed what, and when: a log that is kept for years.

What was configured, reloaded, replayed, purged or parked goes to the log like everything else, and
also to ``logging.audit_file``, which only grows and has a retention of its own.
"""

from __future__ import annotations

import getpass
import os
from typing import Any

import structlog

#: The logger that telemetry.logs connects with the audit file.
AUDIT = "mlflow_monitoring_exporter.audit"


def audit(event: str, **fields: Any) -> None:
    """Record ``event``, with the user and the process that did it."""
    structlog.get_logger(AUDIT).warning(event, **fields, user=_user(), pid=os.getpid())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())
