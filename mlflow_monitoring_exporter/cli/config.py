"""``config validate | show | schema``"""

from __future__ import annotations

import os

import typer

from mlflow_monitoring_exporter.cli.options import Options, configured, plugins_of_this_run
from mlflow_monitoring_exporter.cli.output import print_json, print_result

config_commands = typer.Typer(help="Look at the configuration.", no_args_is_help=True)


@config_commands.command()
@configured
def validate(options: Options) -> None:
    """Say whether the configuration can be used; if not, everything that is wrong with it (exit code 78)."""
    plugins = plugins_of_this_run()
    config = options.load(plugins)
    from mlflow_monitoring_exporter.app.destinations import create_destinations
    from mlflow_monitoring_exporter.config.load import find_config_file

    enabled = create_destinations(config, plugins)
    file = find_config_file(options.config, os.environ)
    print_result(f"{file or 'built-in defaults'}: ok, exporters: {', '.join(d.name for d in enabled) or 'none'}")


@config_commands.command()
@configured
def show(options: Options) -> None:
    """Print the effective configuration as YAML, secrets masked."""
    from mlflow_monitoring_exporter.config import describe

    print_result(describe.show(options.load(plugins_of_this_run())))


@config_commands.command()
def schema() -> None:
    """Print the JSON Schema of config.yaml, with which editors complete it."""
    from mlflow_monitoring_exporter.config import describe

    print_json(describe.json_schema({name: plugin.config for name, plugin in plugins_of_this_run().usable().items()}))
