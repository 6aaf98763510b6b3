"""The right reader for an address."""

from __future__ import annotations

import threading

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.source.decode import OnSkipped, ignore_skipped
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.sql.reader import SqlSource


def open_source(
    config: MlflowConfig,
    *,
    stop: threading.Event,
    concurrency: int = 1,
    params: frozenset[str] = frozenset(),
    on_skipped: OnSkipped = ignore_skipped,
) -> Source:
    """A reader of ``mlflow.tracking_uri``; nothing is read, and nothing can fail, before its first method.

    ``stop`` ends a wait for an absent server; ``on_skipped`` hears of every malformed record. A
    server is asked at most ``concurrency`` things at the same time. Of the parameters of runs only
    ``params`` are read.
    """
    if config.tracking_uri.startswith(("http:", "https:")):
        return RestSource(config, stop=stop, concurrency=concurrency, params=params, on_skipped=on_skipped)
    return SqlSource(config, params=params, on_skipped=on_skipped)
