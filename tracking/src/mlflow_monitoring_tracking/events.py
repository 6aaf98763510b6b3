"""What is worth a line in the log. Each line begins with one of a few names, and says which run and where.

Nothing is set up here: whoever uses the library decides where its loggers write.
"""

from __future__ import annotations

import logging

_log = logging.getLogger("mlflow_monitoring_tracking")

#: All there are, with what each one means. docs/reference/tracking-events.md is made from it.
EVENTS = {
    "run_started": "a run began, or goes on after a restart",
    "run_ended": "a run ended, with its status",
    "metrics_logged": "a back end took a batch (debug)",
    "sync_delayed": "a back end cannot be reached; the spool grows",
    "sender_failed": "a mistake of this library, or of a back end's; it is tried again",
    "sync_recovered": "it can be reached again",
    "artifact_cached": "a file waits in the spool for its upload",
    "auth_failed": "a back end refuses the credentials",
    "upload_failed": "a file could not be uploaded",
    "record_rejected": "a back end permanently rejected a record, or a whole run; it was set aside",
    "tracking_degraded": "the spool is full: of points only the last, least and greatest are kept",
    "tracking_unavailable": "the spool cannot be written: the newest records wait in memory",
    "tracking_recovered": "the spool can be written again",
    "value_skipped": "a value that is no number was left out",
    "surplus_run_deleted": "an answer was lost and a run made twice; the second one was deleted",
    "backend_unavailable": "a back end is configured, but what it needs is not installed",
    "run_adopted": "a run whose process died was ended",
    "schema_changed": "a deployment sees a feature that is new, missing, or of another kind than in its baseline",
    "window_failed": "what was seen in production could not be recorded; the next window tries again",
    "alert_raised": "a program told of something, once in the cooldown",
}


def event(name: str, level: int = logging.INFO, /, **fields: object) -> None:
    """Log one event; its fields are in the text and, for structured logs, in ``extra``."""
    if name not in EVENTS:
        raise KeyError(name)
    if _log.isEnabledFor(level):
        known = {key: value for key, value in fields.items() if value is not None}
        text = " ".join(f"{key}={value}" for key, value in known.items())
        _log.log(level, "%s %s", name, text, extra={"event": name, **{f"tracking_{k}": v for k, v in known.items()}})
