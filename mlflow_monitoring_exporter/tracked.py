"""The tracking servers of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_monitoring_exporter.config.schema import Config, GaugesConfig, MlflowConfig
from mlflow_monitoring_exporter.source.protocol import Source


@dataclass(frozen=True, slots=True)
class Tracked:
    """One tracking server of the configuration."""

    config: MlflowConfig
    source: Source

    @property
    def server(self) -> str:
        """Its identity."""
        return self.source.server


def share_of_gauges(config: Config, server: MlflowConfig) -> GaugesConfig:
    """What is for one tracking server of the series that there may be: for each the same, whatever others need.

    They are polled on their own, and perhaps by different replicas.
    """
    share, over = divmod(config.gauges.max_series, len(config.servers))
    share += config.servers.index(server) < over
    return config.gauges.model_copy(update={"max_series": share})
