"""Which exporters are installed?

Built-in ones are known by name, so that a checkout works without being installed. All others come
from entry points of the group ``mlflow_monitoring_exporter.exporters``; one that cannot be imported
is remembered with the reason, and troubles only a configuration that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.exporters.contract import DeliveryMode, ExporterPlugin

GROUP = "mlflow_monitoring_exporter.exporters"

BUILT_IN = ("file", "pramathus", "prometheus", "pushgateway")


@dataclass(frozen=True, slots=True)
class Plugins:
    """Exporter types: those that can be used, and why others cannot."""

    available: Mapping[str, ExporterPlugin[Any]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def config_types(self) -> Mapping[str, type[ExporterConfig]]:
        """The shape of each type's block in config.yaml."""
        return {name: plugin.config for name, plugin in self.available.items()}


def load_plugins() -> Plugins:
    """Import every installed exporter. Raises nothing for those of others that are broken."""
    available: dict[str, ExporterPlugin[Any]] = {
        name: import_module(f"{__package__}.{name}").plugin for name in BUILT_IN
    }
    failed: dict[str, str] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in BUILT_IN and entry.value.startswith(f"{__package__}."):
            continue
        _add(entry, available, failed)
    return Plugins(available, failed)


def _add(entry: EntryPoint, available: dict[str, ExporterPlugin[Any]], failed: dict[str, str]) -> None:
    origin = f"{entry.name} ({entry.dist.name})" if entry.dist else entry.name
    if entry.name in available:
        failed[origin] = "another exporter of this name is installed"
        return
    reason, plugin = _import(entry.load)
    if plugin is None:
        failed[entry.name] = reason
    else:
        available[entry.name] = plugin


def _import(load: Callable[[], Any]) -> tuple[str, ExporterPlugin[Any] | None]:
    try:
        plugin = load()
    except Exception as error:  # noqa: BLE001 - a foreign module may raise anything
        return f"{type(error).__name__}: {error}", None
    if not isinstance(plugin, ExporterPlugin):
        return f"is {type(plugin).__name__}, not an ExporterPlugin", None
    if plugin.mode is DeliveryMode.EVERY and not issubclass(plugin.config, BatchExporterConfig):
        return "receives every sample, so its configuration must extend BatchExporterConfig", None
    return "", plugin
