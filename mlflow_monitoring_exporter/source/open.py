"""The right reader for an address."""

from __future__ import annotations

import threading

from mlflow_monitoring_exporter.config.schema import MlflowConfig
from mlflow_monitoring_exporter.source.decode import OnSkipped, ignore_skipped
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.source.rest.reader import RestSource
from mlflow_monitoring_exporter.source.rest.run_reader import RestRunReader
from mlflow_monitoring_exporter.source.search import RunReader
from mlflow_monitoring_exporter.source.sql.reader import SqlSource
from mlflow_monitoring_exporter.source.sql.run_reader import SqlRunReader


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
    if _is_server(config):
        return RestSource(config, stop=stop, concurrency=concurrency, params=params, on_skipped=on_skipped)
    return SqlSource(config, params=params, on_skipped=on_skipped)


def open_run_reader(
    config: MlflowConfig,
    *,
    stop: threading.Event,
    concurrency: int = 1,
    on_skipped: OnSkipped = ignore_skipped,
) -> RunReader:
    """What answers questions about the runs of ``mlflow.tracking_uri``; the arguments are those of open_source."""
    if _is_server(config):
        return RestRunReader(config, stop=stop, concurrency=concurrency, on_skipped=on_skipped)
    return SqlRunReader(config, on_skipped=on_skipped)


def _is_server(config: MlflowConfig) -> bool:
    return config.tracking_uri.startswith(("http:", "https:"))
