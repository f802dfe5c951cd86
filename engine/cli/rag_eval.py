"""`engine rag eval`: how well indexes find what questions ask for, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click

from engine.cli.output import print_json, say, table
from engine.cli.settings import Settings, global_options, pass_settings

if TYPE_CHECKING:
    from engine.cli.indexes import FoundIndex
    from engine.evaluate.intervals import Interval
    from engine.evaluate.retrieval import Quality

_MEASURES = "recall@1,recall@5,recall@20,mrr@10,ndcg@10"


@click.command("eval")
@click.argument("indexes", metavar="INDEX…", nargs=-1, required=True)
@click.option("--questions", type=click.Path(exists=True, path_type=Path), required=True, help="See docs/measures.md.")
@click.option("--qrels", type=click.Path(exists=True, path_type=Path), help="TREC or BEIR judgements, if apart.")
@click.option(
    "--mode", "modes", multiple=True, help="dense, lexical, hybrid; several times for several (default: all)."
)
@click.option("--fusion", type=click.Choice(["ranks", "scores"]), default="ranks", show_default=True, help="Of hybrid.")
@click.option("--measures", default=_MEASURES, show_default=True, help="Also precision@k, success@k, map.")
@click.option("--embedder", type=click.Path(path_type=Path), help="Folder of the embedder, if it was moved.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--no-keep", is_flag=True, help="Do not keep the figures in the database.")
@global_options
@pass_settings
def evaluate(
    settings: Settings,
    *,
    indexes: tuple[str, ...],
    questions: Path,
    qrels: Path | None,
    modes: tuple[str, ...],
    fusion: str,
    measures: str,
    embedder: Path | None,
    seed: int,
    no_keep: bool,
) -> None:
    """Measure each INDEX (a folder or an experiment) in each mode by the same questions, with 95 % intervals.

    The figures are kept with the experiment that made the index: `engine show EXP` and the Index screen tell them.
    """
    from engine.cli.index_measures import keep_measures
    from engine.cli.indexes import find_index
    from engine.rag.embedding import environment

    found = [find_index(settings, text) for text in indexes]
    environment.prepare()

    from engine.evaluate.judgements import read_questions
    from engine.evaluate.ranking import Measure
    from engine.evaluate.retrieval import answerable, differences, measure_index
    from engine.rag.opening import open_index
    from engine.rag.searching.search import Fusion, Mode, Searcher

    wanted = [Measure.parse(text.strip()) for text in measures.split(",")]
    for mode in modes:
        if mode not in get_args(Mode):
            raise click.BadParameter(f"{mode} is none of {', '.join(get_args(Mode))}", param_hint="--mode")
    asked = answerable(read_questions(questions, qrels), str(questions))
    say(settings, f"{len(asked)} questions.")
    measured: list[Quality] = []
    of: list[FoundIndex] = []
    for one in found:
        opened = open_index(one.folder, embedder)
        searcher = Searcher(opened)
        has = [way for way, there in (("dense", opened.vectors), ("lexical", opened.lexical)) if there is not None]
        for mode in modes or ([*has, "hybrid"] if len(has) == 2 else has):
            quality = measure_index(
                searcher,
                asked,
                name=one.name,
                mode=cast(Mode, mode),
                fusion=cast(Fusion, fusion),
                measures=wanted,
                seed=seed,
            )
            measured.append(quality)
            of.append(one)
    if not no_keep:
        how = {"embedder": None if embedder is None else str(embedder), "seed": seed}
        pairs = list(zip(of, measured, strict=True))
        keep_measures(settings, pairs, questions=questions, qrels=qrels, how=how)
    if settings.json:
        print_json([_document(quality) for quality in measured])
        return
    click.echo(_page(measured))
    if len(measured) > 1:
        names = list(measured[0].figures)  # by answers alone, not all that are wanted
        best = max(measured, key=lambda quality: float(quality.scores[names[-1]].mean()))
        rows = [
            [
                other.index,
                other.mode,
                *(_told(difference) for difference in differences(other, best, seed=seed).values()),
            ]
            for other in measured
            if other is not best
        ]
        click.echo()
        click.echo(table([f"{best.index}, {best.mode}, LESS", "", *(name.upper() for name in names)], rows))


def _page(measured: list[Quality]) -> str:
    from engine.plan.sizes import in_words

    names = list(measured[0].figures)
    rows = [
        [
            quality.index,
            quality.mode,
            *(_told(quality.figures[name]) for name in names),
            f"{len(quality.questions) / quality.seconds:,.0f}",
            f"{quality.latency_p50 * 1000:.1f}",
            f"{quality.latency_p99 * 1000:.1f}",
            in_words(quality.memory_bytes),
        ]
        for quality in measured
    ]
    header = ["INDEX", "MODE", *(name.upper() for name in names), "QUERIES/S", "P50 MS", "P99 MS", "MEMORY"]
    return table(header, rows, right=range(len(names) + 2, len(names) + 6))


def _told(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _document(quality: Quality) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, interval in quality.figures.items():
        values[name] = None if interval is None else interval.value
        values[f"{name}_interval"] = None if interval is None else [interval.low, interval.high]
    return {
        "index": quality.index,
        "mode": quality.mode,
        "fusion": quality.fusion,
        "questions": len(quality.questions),
        **values,
        "seconds": quality.seconds,
        "latency_p50": quality.latency_p50,
        "latency_p99": quality.latency_p99,
        "memory_bytes": quality.memory_bytes,
    }
