"""The log: one event per fact, as text for people or as JSON for machines, without secrets.

Everything goes to standard error, libraries' own records included, and to a file that rotates
daily where one is configured. Redaction is the last step before rendering, so no caller can
forget it; tracebacks are text by then, and are redacted too. Control characters are escaped in the
same place: what a run is called must not move the cursor, or look like another line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from mlflow_monitoring_exporter.config.schema import LoggingConfig
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.core.foreign_text import in_line, in_text
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.telemetry.audit import AUDIT
from mlflow_monitoring_exporter.telemetry.audit_chain import AuditFile
from mlflow_monitoring_exporter.telemetry.daily_file import DailyFile

#: Libraries' loggers, and the least that is worth a line. APScheduler warns of each poll that is
#: still running when the next is due; that is counted instead. Procrastinate and its pool of
#: connections tell of every outage of the database, which readiness does already. Uvicorn warns of each request that
#: is no HTTP, so that a stranger could fill the disk.
_LIBRARIES = {
    "alembic": logging.WARNING,
    "apscheduler": logging.ERROR,
    "asyncio": logging.WARNING,
    "mlflow": logging.WARNING,
    "procrastinate": logging.CRITICAL,
    "psycopg": logging.CRITICAL,
    "psycopg.pool": logging.CRITICAL,
    "urllib3": logging.ERROR,
    "uvicorn": logging.ERROR,
    "uvicorn.access": logging.ERROR,
    "uvicorn.error": logging.ERROR,
}


_OF_SEVERAL_LINES = ("exception", "stack")


def configure_logging(
    config: LoggingConfig, redactor: Redactor, *, level: str | None = None, stream: TextIO | None = None
) -> None:
    """Send all log records of this process where ``config`` says; callable again after a reload.

    ``level`` replaces the configured one. Raises ConfigError when the log file cannot be written.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    form = config.format or ("console" if terminal else "json")
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    handlers[0].setFormatter(_formatter(form, redactor, colors=terminal))
    if config.file is not None:
        handlers.append(_opened(DailyFile, config.file, config.retention_days, "logging.file"))
        handlers[1].setFormatter(_formatter("json", redactor, colors=False))
    trail: list[logging.Handler] = []
    if config.audit_file is not None:
        trail.append(_opened(AuditFile, config.audit_file, config.audit_retention_days, "logging.audit_file"))
        trail[0].setFormatter(_formatter("json", redactor, colors=False))
    root = logging.getLogger()
    _replace_handlers(root, handlers)
    root.setLevel((level or config.level).upper())
    for handler in handlers:
        handler.setLevel(root.level)  # or the audit trail's records would pass, whose logger is never silent
    _replace_handlers(logging.getLogger(AUDIT), trail)
    logging.getLogger(AUDIT).setLevel(logging.INFO)  # whatever the level of the log
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(least)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _shared() -> Sequence[Processor]:
    return (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )


def _formatter(form: str, redactor: Redactor, *, colors: bool) -> logging.Formatter:
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    )

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        clean: EventDict = redactor.value(dict(event))
        return clean

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _short_logger_name,
            redact,
            *([renderer, _visible_json] if form == "json" else [_visible, renderer]),
        ],
    )


def _visible_json(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """What a terminal would obey is in strings only, and escaped there as JSON has it."""
    return in_line(line)


def _visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """One line for each event, whatever is in it; but a traceback has several."""
    return {key: in_text(value) if key in _OF_SEVERAL_LINES else _escaped(value) for key, value in event.items()}


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return in_line(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(inner) for key, inner in value.items()}
    return [_escaped(inner) for inner in value] if isinstance(value, list | tuple) else value


def _short_logger_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """``source.rest`` says enough."""
    name = event.get("logger")
    if isinstance(name, str):
        event["logger"] = name.removeprefix("mlflow_monitoring_exporter.")
    return event


def _replace_handlers(logger: logging.Logger, handlers: Sequence[logging.Handler]) -> None:
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    for handler in handlers:
        logger.addHandler(handler)


def _opened(make: Callable[[Path, int], logging.Handler], file: Path, retention_days: int, key: str) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return make(file, retention_days)
    except OSError as error:
        problem = ConfigProblem("", key, f"cannot write {file}: {error.strerror}")
        raise ConfigError([problem]) from error
