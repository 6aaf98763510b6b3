"""What gauges show of the registry, and what tags say of metrics, is kept, so that both are there after a restart."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("server", sa.Column("registry", sa.Text(), server_default="", nullable=False))
    op.add_column("experiment", sa.Column("hints", sa.Text(), server_default="", nullable=False))
