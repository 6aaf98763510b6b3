"""Who is alive, and what is whose, when many daemons share one database.

::

    join -> beat, beat, beat ... -> leave
              |                       |
              |                       +--> its row is deleted, and with it every claim and lease
              +---- silent for longer than the lease: the others delete its row

Every transaction of a replica holds on to its row (state/database.py). So no replica expires in the middle
of one, and who was given up writes nothing more: it joins again, as a new replica. Who is given up loses its
connections first, or one that froze in a transaction would keep its locks. All times are the
database's own; a server that has just come back gives everybody a lease's time to be heard of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Interval, bindparam, delete, func, select, text, update

from mlflow_monitoring_exporter.core.errors import StateError
from mlflow_monitoring_exporter.state.database import Database
from mlflow_monitoring_exporter.state.schema import SCHEMA_VERSION, replica, server
from mlflow_monitoring_exporter.state.statements import insert

_NOW = func.clock_timestamp()
_UP_FOR = _NOW - func.pg_postmaster_start_time()
_LEASE = bindparam("lease", type_=Interval)
#: PostgreSQL has no timeout for a client that froze while it sent many statements, or while it took an answer.
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = ANY(:sessions) AND usename = current_user"
)


@dataclass(frozen=True, slots=True)
class PolledServer:
    """One tracking server as the replicas have it.

    Who polls it (None: no replica), whether that is this replica, and when a whole poll last began.
    """

    owner: str | None
    mine: bool
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat found: who is alive, oneself included, and who was just given up."""

    alive: Sequence[str]
    given_up: Sequence[str]


class ReplicaTable:
    """The replicas of one database; ``lease`` is how many seconds one may be silent."""

    def __init__(self, database: Database, *, lease: float) -> None:
        self._database = database
        self._session = database.server.session
        self._lease = {"lease": timedelta(seconds=lease)}
        self._me = 0

    @property
    def me(self) -> int:
        """The number of this replica."""
        return self._me

    def join(self, name: str, *, alone: bool = False) -> None:
        """Become a replica, called ``name`` in front of people.

        Raises StateError when it is to be ``alone``, and there is another one.
        """
        with self._database.write() as tx:
            tx.execute(text("LOCK TABLE replica IN SHARE ROW EXCLUSIVE MODE"))
            alive = select(replica.c.name).where(_NOW - replica.c.heartbeat < _LEASE)
            if alone and (others := ", ".join(tx.execute(alive, self._lease).scalars())):
                raise StateError(
                    f"{self._database.where} is in use by {others}: "
                    "stop that one, or give this one a state.url of its own"
                )
            me = insert(tx, replica).values(name=name, session=self._session, schema=SCHEMA_VERSION)
            self._me = tx.execute(me.returning(replica.c.id)).scalar_one()
        self._database.act_as(self._me)

    def beat(self) -> Beat:
        """Say that this one is alive, and give up who has not said so for too long.

        Raises StateExpelledError when this one was given up itself.
        """
        silent = (_NOW - replica.c.heartbeat > _LEASE) & (_UP_FOR > _LEASE)
        # One that froze in the middle of a transaction is passed over until its connections have ended.
        gone = select(replica.c.id).where(silent).with_for_update(skip_locked=True)
        with self._database.write() as tx:
            tx.execute(update(replica).where(replica.c.id == self._me).values(heartbeat=_NOW))
            if sessions := tx.execute(select(replica.c.session).where(silent), self._lease).scalars().all():
                tx.execute(_END, {"sessions": list(sessions)})
            given_up = tx.execute(delete(replica).where(replica.c.id.in_(gone)).returning(replica.c.name), self._lease)
            names = given_up.scalars().all()
            return Beat(tx.execute(select(replica.c.name).order_by(replica.c.id)).scalars().all(), names)

    def introduce(self, identities: Iterable[str]) -> None:
        """There are these tracking servers."""
        rows = [{"identity": identity} for identity in sorted(identities)]
        with self._database.write() as tx:
            tx.execute(insert(tx, server).on_conflict_do_nothing(), rows)

    def claim(self, identities: Collection[str], most: int) -> None:
        """Take over tracking servers that no replica polls, at most so many of these."""
        free = select(server.c.id).where(server.c.identity.in_(identities), server.c.owner.is_(None))
        with self._database.read() as tx:
            if tx.execute(free.limit(1)).first() is None:
                return
        chosen = free.order_by(server.c.id).limit(most).with_for_update(skip_locked=True)
        with self._database.write() as tx:
            tx.execute(update(server).where(server.c.id.in_(chosen)).values(owner=self._me))

    def release(self, identities: Collection[str]) -> None:
        """Release these to other replicas."""
        mine = (server.c.owner == self._me) & server.c.identity.in_(identities)
        with self._database.write() as tx:
            tx.execute(update(server).where(mine).values(owner=None))

    def watched(self) -> Mapping[str, PolledServer]:
        """Every tracking server that was ever polled, by its identity."""
        query = select(server.c.identity, replica.c.name, replica.c.id, server.c.since_ms)
        with self._database.read() as tx:
            rows = tx.execute(query.join(replica, replica.c.id == server.c.owner, isouter=True))
            return {
                identity: PolledServer(name, owner == self._me, since_ms) for identity, name, owner, since_ms in rows
            }

    def leave(self) -> None:
        """Give everything back."""
        with self._database.write() as tx:
            tx.execute(delete(replica).where(replica.c.id == self._me))
