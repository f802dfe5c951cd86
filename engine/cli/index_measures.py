"""What `engine rag eval` found of indexes, kept in the database and told again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.indexes import FoundIndex
from engine.cli.output import duration, say, table
from engine.cli.settings import Settings
from engine.telemetry.json_values import iso_time

if TYPE_CHECKING:
    from engine.evaluate.retrieval import Quality
    from engine.store.index_measures import IndexMeasure

Measured = tuple[FoundIndex, "Quality"]


def keep_measures(
    settings: Settings, measured: Sequence[Measured], *, questions: Path, qrels: Path | None, how: Mapping[str, Any]
) -> list[IndexMeasure]:
    """Keep what was measured in the database, and say where; without a database nothing is kept, and that is said.

    Args:
        settings: which database.
        measured: indexes, and what was measured of each.
        questions: file of the questions.
        qrels: file of judgements that stand apart.
        how: whatever else the figures depend on.
    """
    if not settings.database.exists():
        say(settings, f"Not kept: there is no database {settings.database}; --db PATH names one.")
        return []
    from engine.rag.manifest import manifest_hash
    from engine.store import index_measures

    store = settings.open_store()
    asked = _hash(questions, *([] if qrels is None else [qrels]))
    kept = [
        index_measures.IndexMeasure(
            experiment_id=found.experiment or index_measures.maker_of(store, str(found.folder)),
            path=str(found.folder),
            manifest_sha256=manifest_hash(found.folder),
            questions=str(questions.expanduser().absolute()),
            questions_sha256=asked,
            count=len(quality.questions),
            mode=quality.mode,
            fusion=quality.fusion,
            settings={"qrels": None if qrels is None else str(qrels.expanduser().absolute()), **how},
            figures={
                name: None if one is None else [one.value, one.low, one.high] for name, one in quality.figures.items()
            },
            seconds=quality.seconds,
            latency_p50=quality.latency_p50,
            latency_p99=quality.latency_p99,
        )
        for found, quality in measured
    ]
    index_measures.keep(store, kept)
    owners = list(dict.fromkeys(one.experiment_id or one.path for one in kept))
    say(settings, f"Kept in {settings.database} with {', '.join(owners)}.")
    return kept


def measures_of(settings: Settings, found: FoundIndex) -> list[IndexMeasure]:
    """Return what the database has of an index, the newest first; nothing without a database."""
    if not settings.database.exists():
        return []
    from engine.store import index_measures

    store = settings.open_store()
    identity = found.experiment or index_measures.maker_of(store, str(found.folder))
    if identity is not None:
        return index_measures.of_experiment(store, identity)
    return index_measures.of_path(store, str(found.folder))


def measure_document(one: IndexMeasure) -> dict[str, Any]:
    """Return a measure as `--json` prints it: values by measure, and their intervals beside them."""
    values: dict[str, Any] = {}
    for name, figure in one.figures.items():
        values[name] = None if figure is None else figure[0]
        values[f"{name}_interval"] = None if figure is None else list(figure[1:])
    return {
        "measured_at": iso_time(one.measured_at),
        "path": one.path,
        "manifest_sha256": one.manifest_sha256,
        "questions_file": one.questions,
        "questions_sha256": one.questions_sha256,
        "questions": one.count,
        "mode": one.mode,
        "fusion": one.fusion,
        "settings": dict(one.settings),
        **values,
        "seconds": one.seconds,
        "latency_p50": one.latency_p50,
        "latency_p99": one.latency_p99,
    }


def measures_table(measures: Sequence[IndexMeasure]) -> str:
    """Return the newest measures of each question set and way of searching, a line each."""
    from engine.store.index_measures import newest

    shown = newest(measures)
    names = list(dict.fromkeys(name for one in shown for name in one.figures))
    rows = [
        [
            f"{duration(time.time() - one.measured_at)} ago",
            Path(one.questions).name,
            f"{one.count:,}",
            one.mode if one.fusion is None else f"{one.mode}, {one.fusion}",
            *("–" if (figure := one.figures.get(name)) is None else f"{figure[0]:.3f}" for name in names),
            f"{1000 * one.latency_p50:.1f}",
        ]
        for one in shown
    ]
    header = ["MEASURED", "BY", "QUESTIONS", "MODE", *(name.upper() for name in names), "P50 MS"]
    return table(header, rows, right=(2, *range(4, 5 + len(names))))


def _hash(*files: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
