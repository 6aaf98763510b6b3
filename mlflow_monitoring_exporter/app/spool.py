"""The spool of the tracking library that a configuration names, if it names one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mlflow_monitoring_exporter.config.schema import Config
from mlflow_monitoring_exporter.telemetry.metrics import SelfMetrics

if TYPE_CHECKING:
    from mlflow_monitoring_exporter.adoption.spool_sender import SpoolSender


def open_spool(
    config: Config, metrics: SelfMetrics, counts: Callable[[], bool], opened: ExitStack
) -> SpoolSender | None:
    """What sends it, not started; its self metrics are shown until ``opened`` is closed. Raises ConfigError."""
    wanted = config.tracking
    if wanted.spool_dir is None:
        return None
    # The library is an extra.
    from mlflow_monitoring_exporter.adoption.deployment_metrics import DeploymentMetrics  # noqa: PLC0415
    from mlflow_monitoring_exporter.adoption.spool_metrics import SpoolMetrics  # noqa: PLC0415
    from mlflow_monitoring_exporter.adoption.spool_sender import SpoolSender  # noqa: PLC0415

    server = next(one for one in config.servers if wanted.server in (None, one.name))
    sender = SpoolSender(wanted, wanted.spool_dir, server)
    for shown in (SpoolMetrics(sender, counts), DeploymentMetrics(wanted.spool_dir, counts)):
        metrics.registry.register(shown)
        opened.callback(metrics.registry.unregister, shown)
    return sender
