"""The contract between the core and an exporter.

::

    core:      queue -> retry -> deadline -> dead letter
                                    |
    exporter:                  encode, send

Returning from ``export`` means delivered; raising says the consequence (see
:mod:`mlflow_monitoring_exporter.core.errors`). The core owns queues, timeouts between attempts and
retries, so an exporter only encodes and sends. Each exporter runs on a thread of its own;
``check`` may come from another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from mlflow_monitoring_exporter.config.section import ExporterConfig
from mlflow_monitoring_exporter.core.deadline import Deadline
from mlflow_monitoring_exporter.core.values import Batch, Snapshot
from mlflow_monitoring_exporter.prometheus.exposition import Page

#: The version of this contract. It changes when an exporter that keeps the old one would not work any more.
CONTRACT = 1

PayloadT_contra = TypeVar("PayloadT_contra", bound=Batch | Snapshot, contravariant=True)
ConfigT = TypeVar("ConfigT", bound=ExporterConfig)


def advice(kind: str) -> str:
    """How to get what a built-in exporter imports: its extra has the name of its type."""
    return f"pip install 'mlflow-monitoring-exporter[{kind.replace('_', '-')}]'"


class DeliveryMode(Enum):
    """What an exporter receives, and what an outage means for it."""

    EVERY = "every"
    """Each sample once, as :class:`Batch`; a backlog is delivered in order, at least once."""
    LATEST = "latest"
    """The newest :class:`Snapshot` only; older ones are superseded, never queued."""


class Exporter(Protocol[PayloadT_contra]):
    """Something that takes payloads to one platform."""

    def start(self) -> None:
        """Acquire what lasts (a session, a file). Raises ConfigError for what cannot work."""
        ...

    def check(self) -> None:
        """Reach the platform without delivering anything.

        Raises ExportError if an export is bound to fail now, ConfigError if it always will.
        """
        ...

    def export(self, payload: PayloadT_contra, *, deadline: Deadline) -> None:
        """Deliver ``payload`` before ``deadline`` or raise an ExportError."""
        ...

    def close(self) -> None:
        """Release everything; called once, also after a failed start."""
        ...


@runtime_checkable
class ScrapedExporter(Protocol):
    """An exporter that is fetched instead of sending: the daemon serves its page on /metrics."""

    @property
    def page(self) -> Page:
        """What is to be served now. Asked from any thread."""
        ...


#: An exporter whose payload type was decided by its plugin's mode, which types cannot follow.
AnyExporter = Exporter[Any]


@dataclass(frozen=True, slots=True)
class ExporterPlugin(Generic[ConfigT]):
    """What an entry point of the group ``mlflow_monitoring_exporter.exporters`` names.

    ``config`` is the type of the exporter's block in config.yaml; ``create`` only keeps it, and
    must not touch the network or the disk. ``target`` says in a few words, without secrets,
    where a block sends to; people read it in tables. ``contract`` is the version of this contract
    that the exporter was written for; one for another version is refused with the reason.
    """

    config: type[ConfigT]
    create: Callable[[ConfigT], AnyExporter]
    mode: DeliveryMode
    target: Callable[[ConfigT], str]
    contract: int = 1
