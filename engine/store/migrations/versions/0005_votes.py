"""Votes on pairs of answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "votes",
        sa.Column("first_id", sa.String(), nullable=False),
        sa.Column("first_step", sa.Integer(), nullable=False),
        sa.Column("second_id", sa.String(), nullable=False),
        sa.Column("second_step", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.String(), nullable=False),
        sa.Column("winner", sa.String(), nullable=False),
        sa.Column("blind", sa.Integer(), nullable=False),
        sa.Column("voted_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["first_id"], ["experiments.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["second_id"], ["experiments.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("first_id", "first_step", "second_id", "second_step", "prompt"),
        sqlite_with_rowid=False,
    )
