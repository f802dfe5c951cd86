"""The values of specs for filters, pins, the journal that undoes, and saved views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from ruamel.yaml import YAML

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables, and fill in the values of the specs that are there."""
    op.add_column("experiments", sa.Column("spec_values", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("experiments", sa.Column("pinned_at", sa.Float(), nullable=True))
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.Column("undone", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "views",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("view", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    connection = op.get_bind()
    table = sa.table("experiments", sa.column("id"), sa.column("spec"), sa.column("spec_values", sa.JSON()))
    yaml = YAML(typ="safe")
    for identity, text in connection.execute(sa.select(table.c.id, table.c.spec)).all():
        values = dict(_values(yaml.load(text), ()))
        connection.execute(sa.update(table).where(table.c.id == identity).values(spec_values=values))


def _values(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict):
            yield from _values(value, (*path, str(name)))
        else:
            yield ".".join((*path, str(name))), value
