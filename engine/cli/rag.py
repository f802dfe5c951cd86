"""`engine rag`: build, query, measure and change retrieval indexes."""

from __future__ import annotations

import click

from engine.cli.lazy import LazyGroup

_PLACES = {
    "answer": "rag_answer:answer",
    "build": "rag_build:build",
    "eval": "rag_eval:evaluate",
    "ls": "rag_index:ls",
    "query": "rag_query:query",
    "show": "rag_index:show",
    "update": "rag_index:update",
    "verify": "rag_index:verify",
}


@click.group(cls=LazyGroup, places=_PLACES)
def rag() -> None:
    """Retrieval indexes: build, query, measure and change them; answer with passages."""
