"""Which exporters are installed?

The built-in ones are the modules of :mod:`mlflow_monitoring_exporter.exporters.builtin`, so that a checkout works
without being installed. All others come from entry points of the group ``mlflow_monitoring_exporter.exporters``.
Each is imported when it is first asked for: one that cannot be troubles only a configuration that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import Any

from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.core.errors import ConfigError
from mlflow_monitoring_exporter.exporters import builtin
from mlflow_monitoring_exporter.exporters.contract import CONTRACT, DeliveryMode, ExporterPlugin, advice

GROUP = "mlflow_monitoring_exporter.exporters"


@dataclass(frozen=True, slots=True)
class Installed:
    """An exporter type that is there. ``origin`` says for people who brought it."""

    name: str
    origin: str
    load: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """An exporter type and what is known of it once it was imported; ``problem`` is why it cannot be used."""

    name: str
    origin: str
    mode: str | None = None
    contract: int | None = None
    problem: str | None = None


class Plugins(Mapping[str, ExporterPlugin[Any]]):
    """Exporter types by name. Asking for one that cannot be used raises ConfigError."""

    def __init__(self, installed: Iterable[Installed]) -> None:
        """Of several types of one name the first counts."""
        self._installed: dict[str, Installed] = {}
        self._shadowed: list[Installed] = []
        for one in installed:
            if one.name in self._installed:
                self._shadowed.append(one)
            else:
                self._installed[one.name] = one
        self._load = cache(lambda name: _load(self._installed[name]))

    def __getitem__(self, name: str) -> ExporterPlugin[Any]:
        plugin, problem = self._load(name)
        if plugin is None:
            raise ConfigError(f"{name} cannot be used: {problem}")
        return plugin

    def __contains__(self, name: object) -> bool:
        return name in self._installed

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._installed))

    def __len__(self) -> int:
        return len(self._installed)

    @property
    def config_types(self) -> Mapping[str, type[ExporterConfig]]:
        """The shape of each type's block in config.yaml; asking for one that cannot be used raises ConfigError."""
        return _ConfigTypes(self)

    def usable(self) -> Mapping[str, ExporterPlugin[Any]]:
        """All that can be imported."""
        return {name: plugin for name in self if (plugin := self._load(name)[0]) is not None}

    def listing(self) -> Sequence[Listed]:
        """Every type, those that cannot be used with the reason, by name."""
        found = []
        for name, one in self._installed.items():
            plugin, problem = self._load(name)
            if plugin is None:
                found.append(Listed(name, one.origin, problem=problem))
            else:
                found.append(Listed(name, one.origin, plugin.mode.value, plugin.contract))
        for one in self._shadowed:
            by = self._installed[one.name].origin
            found.append(Listed(one.name, one.origin, problem=f"another exporter has this name ({by})"))
        return sorted(found, key=lambda listed: (listed.name, listed.problem or ""))


class _ConfigTypes(Mapping[str, type[ExporterConfig]]):
    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def __getitem__(self, name: str) -> type[ExporterConfig]:
        return self._plugins[name].config

    def __contains__(self, name: object) -> bool:
        return name in self._plugins

    def __iter__(self) -> Iterator[str]:
        return iter(self._plugins)

    def __len__(self) -> int:
        return len(self._plugins)


def load_plugins() -> Plugins:
    """Every installed exporter; none is imported yet."""
    return Plugins([*_built_in(), *map(_foreign, entry_points(group=GROUP))])


def _built_in() -> Iterator[Installed]:
    for module in iter_modules(builtin.__path__):
        yield Installed(module.name, "built in", partial(_plugin_of, module.name))


def _plugin_of(name: str) -> Any:
    try:
        return import_module(f"{builtin.__name__}.{name}").plugin
    except ModuleNotFoundError as error:
        text = f"{error.msg}: {advice(name)}"
        raise ImportError(text) from error


def _foreign(entry: EntryPoint) -> Installed:
    origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
    return Installed(entry.name, origin, entry.load)


def _load(one: Installed) -> tuple[ExporterPlugin[Any] | None, str]:
    """The plugin, or why it cannot be used."""
    try:
        plugin = one.load()
    except ImportError as error:
        return None, error.msg
    except Exception as error:  # noqa: BLE001 - a foreign module may raise anything
        return None, f"{type(error).__name__}: {error}"
    if not isinstance(plugin, ExporterPlugin):
        return None, f"it is {type(plugin).__name__}, not an ExporterPlugin"
    if plugin.contract != CONTRACT:
        return None, (
            f"it was written for version {plugin.contract} of the contract, and this release has {CONTRACT}: "
            f"upgrade {'mlflow-monitoring-exporter' if plugin.contract > CONTRACT else one.origin}"
        )
    if plugin.mode is DeliveryMode.EVERY and not issubclass(plugin.config, BatchExporterConfig):
        return None, "it receives every sample, so its configuration must extend BatchExporterConfig"
    return plugin, ""
