"""Priorities, faults and code of experiments; ranks and remains of attempts; nodes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables."""
    op.add_column("experiments", sa.Column("queued_at", sa.Float(), nullable=True))
    op.add_column("experiments", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("experiments", sa.Column("not_before", sa.Float(), nullable=True))
    op.add_column("experiments", sa.Column("faults", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("experiments", sa.Column("forced", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("experiments", sa.Column("code", sa.String(), nullable=True))
    op.add_column("contacts", sa.Column("pulse", sa.JSON(), nullable=True))
    op.add_column("contacts", sa.Column("cleared", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "nodes",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("drained_at", sa.Float(), nullable=True),
        sa.Column("heard_at", sa.Float(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("standing", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "node_samples",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("standing", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", "time"),
        sqlite_with_rowid=False,
    )
