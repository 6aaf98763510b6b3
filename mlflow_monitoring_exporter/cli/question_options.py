"""Which runs a question is about: the flags that all questions share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mlflow_monitoring_exporter.cli.options import Options, plugins_of_this_run
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.config.schema import Config, MlflowConfig
    from mlflow_monitoring_exporter.questions import Questions, Which

_PANEL = "Which runs"
_DAYS = re.compile(r"(\d+)\s*(d|w)")
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class QuestionOptions(Options):
    """The shared flags, and those that choose runs."""

    experiment: Annotated[
        list[str] | None,
        typer.Option(help="Name, pattern of names or id. Repeatable. [default: all]", rich_help_panel=_PANEL),
    ] = None
    filter: Annotated[
        str | None,
        typer.Option(help='MLflow\'s search syntax, as "metrics.loss < 0.1".', rich_help_panel=_PANEL),
    ] = None
    tag: Annotated[
        list[str] | None,
        typer.Option(help="A tag of the run. Repeatable.", metavar="KEY=VALUE", rich_help_panel=_PANEL),
    ] = None
    since: Annotated[
        str | None, typer.Option(help="Started in the last 12h, 7d or 2w, or since 2026-11-01.", rich_help_panel=_PANEL)
    ] = None
    until: Annotated[
        str | None, typer.Option(help="Started before then; written like --since.", rich_help_panel=_PANEL)
    ] = None
    server: Annotated[
        str | None,
        typer.Option(help="Name of the tracking server, where several are configured.", rich_help_panel=_PANEL),
    ] = None

    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Ask the state of a daemon, not MLflow: no parameters, no curves.", rich_help_panel=_PANEL
        ),
    ] = False

    def which(self) -> Which:
        """What the flags mean. Raises ConfigError."""
        from mlflow_monitoring_exporter.questions import Which

        pairs = [item.partition("=") for item in self.tag or ()]
        if any(not key or not equals for key, equals, _ in pairs):
            raise ConfigError([ConfigProblem("--tag", "", "is not KEY=VALUE, as in team=vision")])
        return Which(
            experiments=tuple(self.experiment or ()),
            where=self.filter or "",
            tags={key: value for key, _, value in pairs},
            since_ms=_time("--since", self.since),
            until_ms=_time("--until", self.until),
        )

    @contextmanager
    def ask(self) -> Iterator[Questions]:
        """Questions to the tracking server of the configuration. Raises ConfigError."""
        config = self.load_and_log(plugins_of_this_run(), quiet=True)
        from mlflow_monitoring_exporter.questions import ask

        server = _server(config, self.server)
        if self.mirror:
            with _mirror(config, server) as questions:
                yield questions
            return
        with ask(
            server.tracking_uri,
            config=server,
            direction=config.export.metrics.direction,
            concurrency=config.export.concurrency,
        ) as questions:
            yield questions


def _mirror(config: Config, server: MlflowConfig) -> Questions:
    """Questions to what a daemon has read. Raises StateError and QuestionError."""
    import threading

    from mlflow_monitoring_exporter.core.errors import StateError
    from mlflow_monitoring_exporter.questions import Questions
    from mlflow_monitoring_exporter.questions.mirror import MirrorReader
    from mlflow_monitoring_exporter.source.open import open_source
    from mlflow_monitoring_exporter.state.database import Database, where

    database = Database.existing(config.state.url, config.state.secret("password").get)
    if database is None:
        raise StateError(f"there is no state in {where(config.state.url)}, or state.url is another")
    source = open_source(server, stop=threading.Event())
    try:
        return Questions(MirrorReader(database, source.server), direction=config.export.metrics.direction)
    except BaseException:
        database.close()
        raise
    finally:
        source.close()


def _server(config: Config, name: str | None) -> MlflowConfig:
    names = [server.name or "" for server in config.servers]
    if name is None and len(names) == 1:
        return config.servers[0]
    if name not in names:
        said = "is needed: there are several tracking servers" if name is None else f"{name} is no tracking server"
        raise ConfigError([ConfigProblem("--server", "", f"{said}; choose one of {', '.join(filter(None, names))}")])
    return config.servers[names.index(name or "")]


def _time(flag: str, text: str | None) -> int | None:
    """``7d``, ``12h``, ``2w``: so long ago; a date or a time of ISO 8601, in UTC unless it says otherwise."""
    if text is None:
        return None
    from mlflow_monitoring_exporter.config.fields import parse_duration

    if match := _DAYS.fullmatch(text.strip()):
        return now_ms() - int(match[1]) * (7 if match[2] == "w" else 1) * _DAY * 1000
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            return now_ms() - round(float(parse_duration(text)) * 1000)
        except (ValueError, OverflowError):
            problem = ConfigProblem(flag, "", "is neither a time ago (12h, 7d) nor a date (2026-11-01)")
            raise ConfigError([problem]) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
