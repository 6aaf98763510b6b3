"""The tables of the state database.

::

    server -- experiment -- run -- series -- seen        what MLflow holds, and what was read of it
    server -- alias                                      the model registry's
    exporter -- outbox, dead_letter                      what is on its way
    exporter -- first_load;  retry_time                  what exporters still have to get, and when
    replica -- server, partition, configured             in a cluster: who is alive, and what is whose

Each exporter that receives every sample owns one bit, its slot, as long as it is configured, and afterwards until
another one needs it (state/registration.py). A bit in ``seen.mask`` says that this point
has been queued for that exporter. A bit in ``series.mask`` says that its whole history up to
``series``'s own latest point has been, a bit in ``series.base`` that all of it below ``from_step``
has. So a new exporter gets everything, an old one nothing twice, and of a series that moved only
its tail is read. Runs that are deleted or no longer selected keep their rows, only not ``present``:
should they come back, what was sent of them is not sent again. Experiments do the same.

One SQLite file is one daemon's, and has neither replicas nor partitions. A PostgreSQL database is shared by
any number of them (state/membership.py, state/partitions.py).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from mlflow_monitoring_exporter.state.column_types import ROW_ID, AnyText

#: Raised with every change; a state of an older schema is brought up to date by state/migrations.
SCHEMA_VERSION = 8
#: The schema of Alembic's first revision, 0001; later revisions are called by the number of theirs.
FIRST_REVISION = 5


def revision_of(schema: int) -> str:
    """Alembic's name of a schema."""
    return "0001" if schema == FIRST_REVISION else f"{schema:04}"


def schema_of(revision: str) -> int | None:
    """The other way round; None for what is not a revision of ours."""
    if revision == "0001":
        return FIRST_REVISION
    return int(revision) if revision.isdecimal() else None


metadata = MetaData()

#: What identifies the state: its schema, and the release that opened it last (state/written_by.py).
meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

replica = Table(
    "replica",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("name", Text, nullable=False),  # its host and process, for people
    Column("session", Text, nullable=False),  # what its connections are called
    Column("schema", Integer, nullable=False, server_default="0"),  # the newest that it knows; 0 before schema 7
    Column("joined", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("heartbeat", DateTime(timezone=True), nullable=False, server_default=func.now()),
    sqlite_autoincrement=True,
)


def _owner() -> Column[int]:
    """The owner; none as soon as that replica is gone."""
    return Column("owner", ForeignKey("replica.id", ondelete="SET NULL"), nullable=True)


server = Table(
    "server",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("identity", Text, nullable=False, unique=True),
    Column("since_ms", BigInteger),  # when the last poll that was whole began; NULL before the first
    Column("mark", Text, nullable=False, server_default=""),  # the source's own cursor at that time
    Column("selection", Text, nullable=False, server_default=""),  # what was selected then
    Column("round", Integer, nullable=False, server_default="0"),  # counts loads and sweeps
    Column("load_round", Integer),  # of a load that is not finished; NULL without one
    Column("load_key", Text),  # what it loads
    Column("load_position", Text),  # how far it came
    Column("load_since_ms", BigInteger),  # when it began, and the source's cursor then
    Column("load_mark", Text),
    Column("sweep_round", Integer),
    Column("sweep_position", Text),
    Column("recheck_after", ROW_ID, nullable=False, server_default="0"),  # the run whose histories were reread last
    Column("registry", Text, nullable=False, server_default=""),  # what the model registry said: mirrored_registry.py
    _owner(),  # who polls it, and shows its gauges
)

experiment = Table(
    "experiment",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("server", ForeignKey("server.id"), nullable=False),
    Column("experiment_id", Text, nullable=False),
    Column("name", AnyText, nullable=False),
    Column("watched", Boolean, nullable=False),  # one of the newest, whose runs are mirrored
    Column("activity_ms", BigInteger),  # the newest start or end of a run, as far as known
    Column("hints", Text, nullable=False, server_default=""),  # a JSON object: hints_of() its tags
    Column("present", Boolean, nullable=False),
    UniqueConstraint("server", "experiment_id"),
)

alias = Table(
    "alias",
    metadata,
    Column("server", ForeignKey("server.id"), primary_key=True),
    Column("model", AnyText, primary_key=True),
    Column("alias", AnyText, primary_key=True),
    Column("version", Integer),  # of the model; NULL once the alias is removed
    Column("changes", Integer, nullable=False),  # since it was first seen
)

run = Table(
    "run",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("server", ForeignKey("server.id"), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("experiment_id", Text, nullable=False),
    Column("name", AnyText, nullable=False),
    Column("status", Text, nullable=False),
    Column("start_ms", BigInteger),
    Column("end_ms", BigInteger),
    Column("parent_run_id", AnyText),
    Column("tags", Text, nullable=False),  # a JSON object, only tags that are allowed out
    Column("labels", Text, nullable=False),  # a JSON object, the labels that the operator added to its gauges
    Column("last_ms", BigInteger),  # its newest metric that is not a system metric
    Column("alive_ms", BigInteger),  # its newest metric
    Column("gap_ms", BigInteger),  # the usual time between two values of last_ms; NULL before there are two
    Column("tagged_stage", AnyText, nullable=False),
    Column("registry_stage", AnyText, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("round", Integer, nullable=False),  # the last load or sweep that met this run
    Column("recheck", Boolean, nullable=False),  # it ended: what came out of order is still to be found
    UniqueConstraint("server", "run_id"),
    Index("run_status", "server", "present", "status"),
    Index("run_newest", "server", "present", "start_ms"),
)
Index("run_recheck", run.c.id, sqlite_where=text("recheck = 1"), postgresql_where=run.c.recheck)

series = Table(
    "series",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("run", ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("experiment", ForeignKey("experiment.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("value", Float),  # NULL is NaN, which SQLite cannot store
    Column("mask", BigInteger, nullable=False),
    Column("base", BigInteger, nullable=False),
    Column("from_step", BigInteger, nullable=False),
    Column("pending", Boolean, nullable=False),  # some exporter may miss some point
    Column("shown", Boolean, nullable=False),  # false once its key is no longer selected
    Column("revision", BigInteger, nullable=False),  # counts how often it became unread
    UniqueConstraint("run", "key"),
)
# As queries say it: SQLite uses a partial index only for the same words.
Index("series_pending", series.c.id, sqlite_where=text("pending = 1")).ddl_if("sqlite")
# One experiment at a time is read by one replica of many.
Index("series_waiting", series.c.experiment, series.c.id, postgresql_where=series.c.pending).ddl_if("postgresql")

seen = Table(
    "seen",
    metadata,
    Column("series", ForeignKey("series.id", ondelete="CASCADE"), primary_key=True),
    Column("point", BigInteger, primary_key=True, autoincrement=False),  # a hash of step, time and value
    Column("mask", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: What became of an exporter's samples, in samples unless the name says otherwise. Every transaction that
#: moves samples moves these too, so at any instant, for each exporter:
#: enqueued = delivered + queued + dead + purged + overflowed.
LEDGER = (
    *("enqueued", "delivered", "dead_lettered", "purged", "overflowed"),  # ever
    *("queued", "queued_batches", "queued_bytes", "dead"),  # now
)

exporter = Table(
    "exporter",
    metadata,
    # The number of its queue; called what it was when it was the slot, too.
    Column("bit", Integer, key="id", primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("slot", Integer),  # its bit in masks; NULL for one whose slot another one has, and for what has no points
    Column("selection", Text, nullable=False, server_default=""),  # what is selected for it
    Column("configured_ms", BigInteger),  # when it was last known to be configured; NULL before schema 7
    Column("since_ms", BigInteger),  # the first load leaves older points out; NULL once it is over
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in LEDGER),
)

Index("exporter_slot", exporter.c.slot, unique=True)

first_load = Table(
    "first_load",
    metadata,
    Column("server", ForeignKey("server.id"), primary_key=True),  # from which the exporter has what there was
    Column("exporter", ForeignKey("exporter.id"), primary_key=True),
)

configured = Table(
    "configured",
    metadata,
    Column("replica", ForeignKey("replica.id", ondelete="CASCADE"), primary_key=True),
    Column("exporter", ForeignKey("exporter.id"), primary_key=True),
)

retry_time = Table(
    "retry_time",
    metadata,
    Column("exporter", Text, primary_key=True),  # its name: not every exporter has a queue
    Column("target", Text, nullable=False),  # the platform that asked
    Column("asked_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("reason", AnyText, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", ROW_ID, primary_key=True),  # the order of delivery within an exporter
    Column("exporter", ForeignKey("exporter.id"), nullable=False),
    Column("lane", ROW_ID, key="partition", nullable=False),  # in a cluster the experiment's id, else 0
    Column("batch_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("outbox_order", "exporter", "id"),
    Index("outbox_lane", "exporter", "partition", "id").ddl_if("postgresql"),
    sqlite_autoincrement=True,  # an id is never used twice, so order survives an emptied queue
)

#: The names in the database are those of the first release that had partitions: to rename them would be a migration.
partition = Table(
    "lane",
    metadata,
    Column("exporter", ForeignKey("exporter.id"), primary_key=True),
    Column("lane", ROW_ID, key="partition", primary_key=True, autoincrement=False),
    Column("waiting", Integer, nullable=False),  # batches
    Column("turn", BigInteger, nullable=False, server_default="0"),  # who was served longest ago is served next
    _owner(),  # who delivers it
)
Index(
    "lane_free",
    partition.c.exporter,
    partition.c.turn,
    postgresql_where=partition.c.owner.is_(None) & (partition.c.waiting > 0),
).ddl_if("postgresql")

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", ROW_ID, primary_key=True),
    Column("exporter", ForeignKey("exporter.id"), nullable=False),
    Column("lane", ROW_ID, key="partition", nullable=False),
    Column("batch_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),  # the first and the last attempt to deliver it
    Column("last_ms", BigInteger, nullable=False),
    Column("status", Integer),  # of an HTTP answer
    Column("reason", AnyText, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
