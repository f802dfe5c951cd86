"""What stands in the columns of the list of indexes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.telemetry.numbers import duration, short, since
from tui.index.facts import IndexFacts
from tui.text.safe import visible
from tui.theme import glyph
from tui.widgets.row_table import Cell, Column, Row

COLUMNS = (
    Column("mark", "", 0, needed=False),
    Column("id", "id", 0),
    Column("name", "name", 5, least=10),
    Column("state", "state", 2),
    Column("chunks", "chunks", 1, right=True),
    Column("speed", "chunks/s", 6, right=True, needed=False),
    Column("left", "ETA", 3, right=True, needed=False),
    Column("dimension", "dim", 10, right=True, needed=False),
    Column("embedder", "embedder", 9, least=8, needed=False),
    Column("kind", "index", 7, least=6),
    Column("recall", "recall@5", 4, right=True),
    Column("size", "size", 8, right=True),
    Column("age", "age", 11, right=True),
)
_MOST_NAME = 32  # cells
_LARGE = 100_000  # chunks, of which a build in progress shows three digits


def rows(facts: Sequence[IndexFacts], letter: Callable[[str], str | None], now: float) -> dict[str, Row]:
    """Return a row for each build, by its id.

    letter: of a marked experiment. now: seconds since the epoch.
    """
    return {one.experiment.id: _row(one, letter(one.experiment.id) or "", now) for one in facts}


def _row(facts: IndexFacts, letter: str, now: float) -> Row:
    experiment, manifest = facts.experiment, facts.manifest
    state = experiment.state
    embedder = manifest.embedder if manifest is not None else None
    speed, left = facts.speed, facts.seconds_left
    recall = experiment.last.get("recall@5")
    return {
        "mark": Cell(letter, "mark"),
        "id": Cell(experiment.id, "strong"),
        "name": Cell(visible(experiment.name)[:_MOST_NAME]),
        "state": Cell(f"{glyph(state)} {state.value}", f"state-{state.value}"),
        "chunks": Cell(_chunks(facts)),
        "speed": Cell("" if speed is None else short(speed)),
        "left": Cell("" if left is None else duration(left)),
        "dimension": Cell("" if embedder is None else str(embedder.dimension), "quiet"),
        "embedder": Cell("" if embedder is None else visible(embedder.name), "quiet"),
        "kind": Cell(visible(facts.kind) or "–", "quiet"),
        "recall": Cell("–" if recall is None else f"{recall:.3f}", "strong"),
        "size": Cell(_size(facts.size), "quiet"),
        "age": Cell(_age(facts, now), "quiet"),
    }


def _chunks(facts: IndexFacts) -> str:
    experiment, manifest = facts.experiment, facts.manifest
    if manifest is not None:
        return f"{manifest.counts.chunks - manifest.counts.removed:,}"
    total = experiment.total_steps
    if not total:
        return "–"
    return f"{short(experiment.step)}/{short(total)}" if total >= _LARGE else f"{experiment.step:,}/{total:,}"


def _size(size: int | None) -> str:
    from engine.plan.sizes import in_words

    return "–" if size is None else in_words(size)


def _age(facts: IndexFacts, now: float) -> str:
    experiment = facts.experiment
    return since(now - (experiment.ended_at or experiment.heard_at or experiment.created_at))
