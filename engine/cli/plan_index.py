"""The plan of an index, as `engine plan` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine.cli.output import duration
from engine.cli.plan_report import launchers
from engine.plan.sizes import in_words
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.plan.corpus import IndexPlan
    from engine.plan.place import Place


def index_document(
    planned: IndexPlan, where: Place, *, warnings: Sequence[str], commands: Mapping[str, str]
) -> dict[str, Any]:
    """Return the document of `--json`."""
    vectors = planned.vectors
    return {
        "kind": "rag",
        "fits": planned.fits,
        "nodes": len(where.slots),
        "ranks": where.ranks,
        "on_cpu": where.on_cpu,
        "files": planned.files,
        "corpus_bytes": planned.corpus_bytes,
        "chunks": planned.chunks,
        "vectors": None if vectors is None else {**asdict(vectors), "choice": asdict(vectors.choice)},
        "disk": {"total": planned.disk_bytes, "kept": planned.kept_bytes},
        "seconds": None if vectors is None else vectors.embedding_seconds,
        "commands": dict(commands),
        "warnings": list(warnings),
        "errors": list(planned.errors),
    }


def index_text(planned: IndexPlan, where: Place, commands: Mapping[str, str]) -> str:
    """Return the page for people."""
    facts = list(_facts(planned, where))
    width = max(len(label) for label, _ in facts)
    return "\n".join(
        [
            *(f"{label:<{width}}  {visible(value)}" for label, value in facts),
            *launchers(commands),
        ]
    )


def _facts(planned: IndexPlan, where: Place) -> Iterator[tuple[str, str]]:
    vectors = planned.vectors
    yield "corpus", f"{planned.files:,} files, about {in_words(planned.corpus_bytes)} of text"
    yield "chunks", f"about {planned.chunks:,}"
    yield "where", f"{len(where.slots)} nodes, {where.ranks} ranks" if where.ranks > 1 else "one rank"
    if vectors is None:
        yield "index", "words alone (BM25)"
    else:
        yield "vectors", f"{vectors.dimension} numbers each, {in_words(vectors.vectors_bytes)}"
        size = f", {in_words(vectors.index_bytes)}" if vectors.index_bytes is not None else ""
        yield "index", f"{vectors.choice.factory}{size}: {vectors.choice.reason}"
        if vectors.building_bytes is not None:
            yield "memory", f"{in_words(vectors.building_bytes)} to build, without the embedder"
        if vectors.searching_bytes is not None:
            yield "", f"{in_words(vectors.searching_bytes)} to search it"
    yield "disk", f"{in_words(planned.disk_bytes)} while it is built, {in_words(planned.kept_bytes)} then"
    yield "time", _time(planned)


def _time(planned: IndexPlan) -> str:
    if planned.vectors is None:
        return "seconds: nothing is embedded"
    if planned.vectors.embedding_seconds is None:
        return "unknown until measured: give --like EXP"
    return f"about {duration(planned.vectors.embedding_seconds)}, at the measured chunks a second"
