"""What was written down as texts in ``meta`` gets columns and tables, and slots of exporters may move.

``meta`` had ``selection of <exporter>``, ``first loads of <server>`` with a mask of exporters, and ``pause of
<exporter>`` with a JSON object. An exporter's bit in masks was its number, for ever.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from mlflow_monitoring_exporter.state.column_types import ROW_ID, AnyText

revision = "0007"
down_revision = "0006"

_SELECTION, _FIRST_LOADS, _PAUSE = "selection of ", "first loads of ", "pause of "


def upgrade() -> None:
    op.add_column("replica", sa.Column("schema", sa.Integer(), server_default="0", nullable=False))
    op.add_column("exporter", sa.Column("slot", sa.Integer(), nullable=True))
    op.add_column("exporter", sa.Column("selection", sa.Text(), server_default="", nullable=False))
    op.add_column("exporter", sa.Column("configured_ms", sa.BigInteger(), nullable=True))
    op.execute("UPDATE exporter SET slot = bit")
    op.create_index("exporter_slot", "exporter", ["slot"], unique=True)
    op.create_table(
        "first_load",
        sa.Column("server", ROW_ID, nullable=False),
        sa.Column("exporter", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["server"], ["server.id"]),
        sa.ForeignKeyConstraint(["exporter"], ["exporter.bit"]),
        sa.PrimaryKeyConstraint("server", "exporter"),
    )
    op.create_table(
        "configured",
        sa.Column("replica", ROW_ID, nullable=False),
        sa.Column("exporter", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["replica"], ["replica.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["exporter"], ["exporter.bit"]),
        sa.PrimaryKeyConstraint("replica", "exporter"),
    )
    retry_time = op.create_table(
        "retry_time",
        sa.Column("exporter", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", AnyText(), nullable=False),
        sa.PrimaryKeyConstraint("exporter"),
    )
    _move_texts(op.get_bind(), retry_time)


def _move_texts(tx: sa.Connection, retry_time: sa.Table) -> None:
    """From ``meta``; replicas of the release before do without them."""
    for key, value in tx.execute(sa.text("SELECT key, value FROM meta")).all():
        if key.startswith(_SELECTION):
            named = {"name": key.removeprefix(_SELECTION), "selection": value}
            tx.execute(sa.text("UPDATE exporter SET selection = :selection WHERE name = :name"), named)
        elif key.startswith(_FIRST_LOADS):
            done = {"identity": key.removeprefix(_FIRST_LOADS), "mask": int(value)}
            tx.execute(
                # Those whose first load is over everywhere are left out.
                sa.text(
                    "INSERT INTO first_load (server, exporter) SELECT server.id, exporter.bit FROM server, exporter "
                    "WHERE server.identity = :identity AND exporter.since_ms IS NOT NULL "
                    "AND (CAST(:mask AS bigint) >> exporter.bit) & 1 = 1"
                ),
                done,
            )
        elif key.startswith(_PAUSE):
            tx.execute(retry_time.insert().values(exporter=key.removeprefix(_PAUSE), **json.loads(value)))
        else:
            continue
        tx.execute(sa.text("DELETE FROM meta WHERE key = :key"), {"key": key})
