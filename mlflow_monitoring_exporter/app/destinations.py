"""Where a configuration sends to: its exporters, made but not started, and their queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_monitoring_exporter.config.fields import since_ms
from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.config.section import BatchExporterConfig, ExporterConfig
from mlflow_monitoring_exporter.core.clock import now_ms
from mlflow_monitoring_exporter.core.disclosure import shown_key
from mlflow_monitoring_exporter.core.errors import ConfigError, ConfigProblem
from mlflow_monitoring_exporter.exporters.contract import AnyExporter, DeliveryMode, ExporterPlugin, ScrapedExporter
from mlflow_monitoring_exporter.exporters.plugins import Plugins
from mlflow_monitoring_exporter.pipeline.queues import Queue
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.transform.projection import SampleProjection


@dataclass(frozen=True, slots=True)
class Destination:
    """One enabled exporter of the configuration."""

    name: str
    config: ExporterConfig
    plugin: ExporterPlugin[Any]
    exporter: AnyExporter

    @property
    def target(self) -> str:
        """Where it sends to, for people."""
        return self.plugin.target(self.config)

    @property
    def mode(self) -> DeliveryMode:
        return self.plugin.mode

    @property
    def scraped(self) -> bool:
        """Whether it waits on /metrics to be fetched, and so needs the running daemon."""
        return isinstance(self.exporter, ScrapedExporter)

    @property
    def batches(self) -> BatchExporterConfig:
        """Its configuration, when it receives every sample; the registry lets no other pass."""
        if not isinstance(self.config, BatchExporterConfig):
            raise TypeError(self.config.type)
        return self.config


def create_destinations(config: Config, plugins: Plugins) -> tuple[Destination, ...]:
    """Every enabled exporter, not started. Raises ConfigError for those that exclude each other."""
    made = []
    for name, block in config.enabled_exporters().items():
        plugin = plugins[block.type]
        try:
            exporter = plugin.create(block)
        except ConfigError as error:
            raise ConfigError(
                [ConfigProblem(p.where, f"exporters.{name}", p.message) for p in error.problems]
            ) from None
        made.append(Destination(name, block, plugin, exporter))
    scraped = [destination.name for destination in made if destination.scraped]
    if len(scraped) > 1:
        reason = f"{shown_key(scraped[0])} already serves /metrics, and each series may be there only once"
        raise ConfigError([ConfigProblem("", f"exporters.{name}", reason) for name in scraped[1:]])
    return tuple(made)


def register(outbox: Outbox, config: Config, destinations: Sequence[Destination]) -> Mapping[str, QueueId]:
    """The queue of each EVERY exporter; a new one begins where ``export.since`` says."""
    begin = since_ms(config.export.since, now_ms())
    selections = {d.name: SampleProjection(d.batches).selection for d in destinations}
    return outbox.register(selections, since_ms=begin, selections=selections)


def queues(config: Config, destinations: Sequence[Destination], ids: Mapping[str, QueueId]) -> list[Queue]:
    """A queue for each EVERY exporter, each with the same share of ``state.max_size``."""
    share = config.state.max_size // max(1, len(destinations))
    drop_oldest = config.state.overflow == "drop_oldest"
    return [
        Queue(d.name, ids[d.name], d.batches.batch_size, share, SampleProjection(d.batches), drop_oldest)
        for d in destinations
    ]
