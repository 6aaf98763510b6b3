"""The release that opened a state is written down in ``meta``, and a replica of the first days gets its session.

The column came the same day as the table, within schema 5.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0001"


def upgrade() -> None:
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("replica")}
    if "session" not in columns:
        op.add_column("replica", sa.Column("session", sa.Text(), nullable=False, server_default=""))
