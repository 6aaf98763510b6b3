from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from mlflow_monitoring_exporter.config.redaction import secrets_of
from mlflow_monitoring_exporter.config.schema import LoggingConfig, MlflowConfig
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.core.redaction import Redactor
from mlflow_monitoring_exporter.telemetry.logs import configure_logging

PASSWORD = "correct horse battery"


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.learn(secrets_of(MlflowConfig(username="me", password=SecretStr(PASSWORD))))
    return redactor


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    for handler in logging.getLogger().handlers[:]:
        logging.getLogger().removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def test_on_a_pipe_each_event_is_one_json_object(redactor: Redactor) -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig(), redactor, stream=stream)
    structlog.get_logger("mlflow_monitoring_exporter.app.daemon").info("delivered", exporter="prod", size=5)
    event = json.loads(stream.getvalue())
    timestamp = event.pop("timestamp")
    assert timestamp.endswith("Z")
    assert event == {"event": "delivered", "exporter": "prod", "size": 5, "level": "info", "logger": "app.daemon"}


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_appears_nowhere_not_even_in_a_traceback(redactor: Redactor, form: str) -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig.model_validate({"format": form}), redactor, stream=stream)
    log = structlog.get_logger("test")
    event = f"in the event {PASSWORD}"
    log.info(event, key=PASSWORD, deep={"list": [PASSWORD]}, url="http://me:other@host/")
    try:
        int(f"in the error {PASSWORD}")
    except ValueError:
        log.exception("crashed")
    logging.getLogger("foreign").error("in a library's record %s", PASSWORD)
    text = stream.getvalue()
    assert PASSWORD not in text
    assert "other" not in text
    assert text.count("[redacted]") >= 6
    assert "ValueError" in text


def test_the_level_decides_and_libraries_do_not_chatter(redactor: Redactor) -> None:
    stream = io.StringIO()
    configure_logging(LoggingConfig(level="debug"), redactor, stream=stream)
    structlog.get_logger("test").debug("mine")
    logging.getLogger("urllib3.connectionpool").debug("theirs")
    logging.getLogger("apscheduler.scheduler").warning("theirs")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["mine"]
    configure_logging(LoggingConfig(level="debug"), redactor, level="error", stream=stream)
    structlog.get_logger("test").warning("not any more")
    assert "not any more" not in stream.getvalue()


def test_the_log_file_holds_the_same_events_and_its_directory_is_made(redactor: Redactor, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "exporter.log"
    for _ in range(2):  # a reload configures it again
        configure_logging(LoggingConfig(file=file, retention_days=7), redactor, stream=io.StringIO())
    structlog.get_logger("test").info("once")
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["once"]
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, logging.FileHandler)]
    assert getattr(handler, "backupCount") == 7  # noqa: B009 - the base class has none


def test_a_log_file_that_cannot_be_written_is_a_configuration_problem(redactor: Redactor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^logging\.file: cannot write .*: Is a directory$"):
        configure_logging(LoggingConfig(file=tmp_path), redactor, stream=io.StringIO())
