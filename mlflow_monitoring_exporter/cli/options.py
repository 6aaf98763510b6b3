"""The options that every command shares, and the configuration that they lead to."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from mlflow_monitoring_exporter.cli.output import redactor
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.config.schema import Config
    from mlflow_monitoring_exporter.exporters.plugins import Plugins

_PANEL = "Configuration (flag > environment > config.yaml > default)"


@dataclass(frozen=True, slots=True)
class Options:
    """One field per shared flag."""

    config: Annotated[
        Path | None, typer.Option(help="Configuration file. [default: ./config.yaml if there]", rich_help_panel=_PANEL)
    ] = None
    tracking_uri: Annotated[
        str | None, typer.Option(help="MLflow: http(s):// or sqlite:///", rich_help_panel=_PANEL)
    ] = None
    interval: Annotated[
        str | None, typer.Option(help="Time between two polls, as 30s or 5m.", rich_help_panel=_PANEL)
    ] = None
    max_experiments: Annotated[
        str | None, typer.Option(help="Newest activity first; 0 means all.", metavar="N", rich_help_panel=_PANEL)
    ] = None
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", rich_help_panel=_PANEL)] = None
    log_format: Annotated[str | None, typer.Option(help="console or json.", rich_help_panel=_PANEL)] = None
    set: Annotated[
        list[str] | None,
        typer.Option(help="Any key, as export.history=false. Repeatable.", metavar="KEY=VALUE", rich_help_panel=_PANEL),
    ] = None

    def load(self, plugins: Plugins, *, secrets: bool = True) -> Config:
        """The configuration that these flags, the environment and the file make. Raises ConfigError.

        Without ``secrets`` files that hold some need not be there.
        """
        from mlflow_monitoring_exporter.config.load import find_config_file, load_config
        from mlflow_monitoring_exporter.config.redaction import secrets_of

        config = load_config(
            find_config_file(self.config, os.environ),
            exporter_types=plugins.config_types,
            flags=list(self._flags()),
            secrets=secrets,
            certificates=secrets,
        )
        redactor.learn(secrets_of(config))
        return config

    def load_and_log(self, plugins: Plugins, *, quiet: bool = False) -> Config:
        """Load, and send the log where the configuration says.

        ``quiet`` is for commands that print their own result: unless a level was asked for, only
        errors are logged.
        """
        from mlflow_monitoring_exporter.telemetry.logs import configure_logging

        config = self.load(plugins)
        level = "error" if quiet and "level" not in config.logging.model_fields_set else None
        configure_logging(config.logging, redactor, level=level)
        return config

    def _flags(self) -> Iterator[tuple[str, str, Any]]:
        for flag, key, value in (
            ("--tracking-uri", "mlflow.tracking_uri", self.tracking_uri),
            ("--interval", "export.interval", self.interval),
            ("--max-experiments", "export.max_experiments", self.max_experiments),
            ("--log-level", "logging.level", self.log_level),
            ("--log-format", "logging.format", self.log_format),
        ):
            if value is not None:
                yield flag, key, value
        for item in self.set or ():
            key, equals, value = item.partition("=")
            if not equals or not all(key.split(".")):
                # Not what was written: it may be a secret, in another form than it should be.
                raise ConfigError([ConfigProblem("--set", "", "is not KEY=VALUE, as in export.history=false")])
            yield "--set", key, value


def plugins_of_this_run() -> Plugins:
    """The installed exporters."""
    from mlflow_monitoring_exporter.exporters.plugins import load_plugins

    return load_plugins()


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared flags; it receives them as its first argument, :class:`Options` or a subclass."""
    first, *own = inspect.signature(command, eval_str=True).parameters.values()
    kind: type[Options] = first.annotation
    hints = get_type_hints(kind, include_extras=True)
    defaults = kind()
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=hints[name])
        for name in kind.__dataclass_fields__
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = kind(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        command(options, **values)

    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    # Typer reads both, and would read the original's through __wrapped__.
    run.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    del run.__wrapped__
    return run
