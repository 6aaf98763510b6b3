"""Puts a poller together: the one place that knows which parts of pipeline/ it is made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlflow_monitoring_exporter.config.schema import ExportConfig, GaugesConfig
from mlflow_monitoring_exporter.core.values import Snapshot
from mlflow_monitoring_exporter.pipeline.direct_load import DirectLoad
from mlflow_monitoring_exporter.pipeline.dispatch import HandOut, JobDispatch
from mlflow_monitoring_exporter.pipeline.enqueue import Enqueuer
from mlflow_monitoring_exporter.pipeline.poll import Poller
from mlflow_monitoring_exporter.pipeline.queues import Histories, Queue, QueueEvents
from mlflow_monitoring_exporter.pipeline.snapshots import SnapshotBuilder
from mlflow_monitoring_exporter.pipeline.sync import MirrorSync
from mlflow_monitoring_exporter.source.protocol import Source
from mlflow_monitoring_exporter.state.backlog import Backlog
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.latest_values import LatestValues
from mlflow_monitoring_exporter.state.mirror import Mirror
from mlflow_monitoring_exporter.state.queue_id import QueueSet
from mlflow_monitoring_exporter.transform.labels import AddedLabels


def _ignore(*_: object) -> None:
    """The default for an event without a listener."""


@dataclass(frozen=True, slots=True)
class PollEvents:
    """Callbacks during a poll.

    ``published`` gets each snapshot; None when no exporter shows gauges. ``queued`` is called after samples were
    enqueued. ``read`` counts points, ``behind`` experiments whose points other replicas are to read. ``loading``
    gets, for each page of a load, the number of runs read so far; ``sending`` of how many series the points were
    read, out of how many.
    """

    published: Callable[[Snapshot], None] | None = None
    queued: Callable[[], None] = _ignore
    read: Callable[[int], None] = _ignore
    loading: Callable[[int], None] = _ignore
    sending: Callable[[int, int], None] = _ignore
    behind: Callable[[int], None] = _ignore


def build_poller(
    source: Source,
    config: ExportConfig,
    *,
    gauges: GaugesConfig | None = None,
    database: Database,
    queues: Sequence[Queue],
    events: PollEvents,
    stop: threading.Event,
    hand_out: HandOut | None = None,
    servers: Sequence[str] = (),
    clock: Callable[[], float] = time.time,
) -> Poller:
    """Polls ``source``, one of ``servers`` (identities; by default the only one).

    With ``hand_out`` the points of series that moved are not read by this poller, but become jobs of all replicas.
    ``clock`` gives the time in Unix seconds.
    """
    gauges = gauges or GaugesConfig()
    servers = tuple(servers) or (source.server,)
    mirror = Mirror(database, source.server, clock=clock)
    backlog = Backlog(database, mirror)
    queue_events = QueueEvents(events.queued, events.read, events.sending)
    direct = DirectLoad(
        source, database=database, mirror=mirror, queues=queues, history=config.history, events=queue_events
    )
    sync = MirrorSync(
        source,
        config,
        AddedLabels(gauges.labels.add, longest=gauges.max_label_length),
        database=database,
        mirror=mirror,
        backlog=backlog,
        direct=direct,
        stop=stop,
        on_runs=events.loading,
        clock=clock,
    )
    histories: Histories
    if hand_out is None:
        histories = Enqueuer(
            source,
            database=database,
            backlog=backlog,
            queues=queues,
            history=config.history,
            events=queue_events,
            stop=stop,
            divided=database.divided,
            servers=servers,
        )
    else:
        histories = JobDispatch(
            database,
            backlog,
            QueueSet.of(queue.id for queue in queues),
            hand_out,
            behind=events.behind,
            server=source.server,
            servers=servers,
        )
    return Poller(
        mirror,
        sync,
        SnapshotBuilder(LatestValues(database, mirror.server, clock=clock), gauges, config),
        histories,
        publish=events.published,
        interval=config.between_polls,
        clock=clock,
    )
