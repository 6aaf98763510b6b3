"""One daemon or many replicas? Decided once, by the state database; the rest of app/ only calls a Membership."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol

from mlflow_monitoring_exporter.app.self_monitoring import Telemetry
from mlflow_monitoring_exporter.config.schema import Config, StateConfig
from mlflow_monitoring_exporter.core.errors import StateCorruptError, StateError, StateRefusedError
from mlflow_monitoring_exporter.delivery.payload_source import PayloadSource, QueueSource
from mlflow_monitoring_exporter.schedule.poll_loop import PollLoops, Roles
from mlflow_monitoring_exporter.state.database import Database, is_shared
from mlflow_monitoring_exporter.state.outbox import Outbox
from mlflow_monitoring_exporter.state.queue_id import QueueId
from mlflow_monitoring_exporter.state.state_file import StateLock, set_aside, state_path
from mlflow_monitoring_exporter.telemetry.audit import audit


class Polling(Protocol):
    """The poll loops of this process, from :meth:`start` to :meth:`stop`."""

    def start(self) -> None: ...

    def check_clock(self) -> bool:
        """Poll now if the wall clock was set; whether it was. To be called every second or so."""
        ...

    @property
    def alone(self) -> bool:
        """Whether no other replica delivers the backlog."""
        ...

    def stop(self, within: float) -> bool:
        """Start no more polls, and wait so many seconds for what is under way; whether it ended."""
        ...


class Membership(Protocol):
    """This process among all that share its state."""

    components: frozenset[str]
    """Components of readiness that only such a process has."""

    @property
    def shows(self) -> bool:
        """Whether this process shows the gauges of the tracking servers that it polls."""
        ...

    @property
    def counts(self) -> bool:
        """Whether this process reports the totals that all share."""
        ...

    def payloads(self, outbox: Outbox, queue: QueueId) -> PayloadSource:
        """What this process delivers of an exporter's queue."""
        ...

    def polling(
        self, servers: Mapping[str, Roles], *, wake: Callable[[], None], on_expired: Callable[[], None]
    ) -> Polling:
        """Polls these tracking servers (by identity) when they are this process's to poll; not started.

        ``wake`` is called when there may be something to deliver that another replica enqueued, ``on_expired`` when
        the lease of this process expired, so that everything has to be assembled anew.
        """
        ...

    def leave(self) -> None:
        """Release everything that this process owns."""
        ...


class SingleDaemon:
    """The only process of its state: it polls every server, shows every gauge, delivers every queue."""

    components: frozenset[str] = frozenset()
    shows = True
    counts = True

    def payloads(self, outbox: Outbox, queue: QueueId) -> PayloadSource:
        return QueueSource(outbox, queue)

    def polling(
        self,
        servers: Mapping[str, Roles],
        *,
        wake: Callable[[], None],  # no other replica enqueues
        on_expired: Callable[[], None],  # there is no lease
    ) -> Polling:
        return PollLoops([roles.poll_loop(None) for roles in servers.values()])

    def leave(self) -> None:
        """Nothing is shared."""


def join(config: Config, telemetry: Telemetry, opened: ExitStack, *, alone: bool) -> tuple[Database, Membership]:
    """Open the state database, and become a member of those that use it; ``opened`` releases both.

    Raises StateError when the state cannot be used, when a file is in use by another process, and when this process
    is to be ``alone``, and another replica is alive.
    """
    if not is_shared(config.state.url):
        opened.callback(StateLock(state_path(config.state.url)).release)
    database = _open_state(config.state, telemetry)
    opened.callback(database.close)
    membership: Membership = SingleDaemon()
    if database.divided:
        from mlflow_monitoring_exporter.app.replica import Replica  # noqa: PLC0415 - needs an extra

        membership = Replica(config, database, readiness=telemetry.readiness, metrics=telemetry.metrics, alone=alone)
    opened.callback(membership.leave)
    return database, membership


def may_come_later(config: Config, error: StateError) -> bool:
    """Whether the state that could not be used at the start may be usable later: a server may, a file will not."""
    return is_shared(config.state.url) and not isinstance(error, StateRefusedError)


def _open_state(config: StateConfig, telemetry: Telemetry) -> Database:
    """The state database; a damaged file is set aside, and a new one begins."""
    password = config.secret("password").get
    try:
        database = Database(config.url, password)
    except StateCorruptError as error:
        aside = set_aside(state_path(config.url))
        telemetry.metrics.state_resets.inc()
        audit("state file set aside", reason=str(error), moved_to=str(aside))
        return Database(config.url, password)
    if database.upgraded is not None:
        audit(str(database.upgraded), state=database.where)
    return database
