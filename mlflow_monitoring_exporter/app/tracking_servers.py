"""The tracking servers of a configuration."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from mlflow_monitoring_exporter.config.schema import Config, GaugesConfig, MlflowConfig
from mlflow_monitoring_exporter.source.decode import OnSkipped, ignore_skipped
from mlflow_monitoring_exporter.source.open import open_source
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.transform.labels import AddedLabels


@dataclass(frozen=True, slots=True)
class TrackingServer:
    """One tracking server of the configuration."""

    config: MlflowConfig
    source: Source

    @property
    def server(self) -> str:
        """Its identity."""
        return self.source.server


def open_tracking_server(
    config: Config, server: MlflowConfig, *, stop: threading.Event, on_skipped: OnSkipped = ignore_skipped
) -> TrackingServer:
    """One of ``config.servers``; nothing is read, and nothing can fail, before the source's first method.

    ``stop`` ends a wait for an absent server; ``on_skipped`` hears of every malformed record.
    """
    source = open_source(
        server,
        stop=stop,
        concurrency=config.export.concurrency,
        params=AddedLabels(config.gauges.labels.add).params,
        on_skipped=on_skipped,
    )
    return TrackingServer(server, source)


def share_of_gauges(config: Config, server: MlflowConfig) -> GaugesConfig:
    """What is for one tracking server of the series that there may be: for each the same, whatever others need.

    They are polled on their own, and perhaps by different replicas.
    """
    share, over = divmod(config.gauges.max_series, len(config.servers))
    share += config.servers.index(server) < over
    return config.gauges.model_copy(update={"max_series": share})
