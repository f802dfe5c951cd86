"""The versions of the schema, and the way from each to the next (Alembic)."""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")  # oldest first; known without importing Alembic
HEAD = REVISIONS[-1]
