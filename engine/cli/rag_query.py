"""`engine rag query`: passages for a question, once or one question after the other."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json, print_json_line, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, PlumblineError
from engine.telemetry.json_values import json_number
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.rag.records import Passage
    from engine.rag.searching.reranking import Reranker
    from engine.rag.searching.search import Searcher

_SHOWN = 400  # characters of a passage
_BOLD, _PLAIN = "\033[1m", "\033[0m"


@click.command()
@click.argument("index")
@click.argument("question", required=False)
@click.option("-k", "number", type=click.IntRange(min=1), default=5, show_default=True, help="Passages.")
@click.option("--mode", type=click.Choice(["auto", "dense", "lexical", "hybrid"]), default="auto", show_default=True)
@click.option("--fusion", type=click.Choice(["ranks", "scores"]), default="ranks", show_default=True, help="Of hybrid.")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only documents with this; also != < <= > >= ~.")
@click.option("--questions", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A question a line.")
@click.option("--embedder", type=click.Path(path_type=Path), help="Folder of the embedder, if it was moved.")
@click.option("--rerank", type=click.Path(path_type=Path), help="Folder of a cross-encoder that orders what is found.")
@click.option("--full", is_flag=True, help="Whole passages.")
@global_options
@pass_settings
def query(
    settings: Settings,
    *,
    index: str,
    question: str | None,
    number: int,
    mode: str,
    fusion: str,
    where: tuple[str, ...],
    questions: Path | None,
    embedder: Path | None,
    rerank: Path | None,
    full: bool,
) -> None:
    """Find passages of INDEX (a folder or an experiment) for QUESTION; without one, ask again and again."""
    from engine.cli.indexes import find_index
    from engine.rag.embedding import environment

    found = find_index(settings, index)
    environment.prepare()

    from engine.rag.opening import open_searcher

    asking = _Asking(
        settings,
        open_searcher(found.folder, embedder),
        index,
        {"k": number, "mode": mode, "fusion": fusion, "where": where, "rerank": _reranker(rerank)},
        full=full,
    )
    if questions is not None:
        asking.ask(_lines(questions))
    elif question is not None:
        asking.ask([question])
    else:
        asking.converse()


def _reranker(folder: Path | None) -> Reranker | None:
    if folder is None:
        return None
    from engine.rag.searching.reranking import load_reranker

    return load_reranker(folder)


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8: {error.reason} at byte {error.start + 1}.", where=str(file)) from None
    if not lines:
        raise InvalidInput("has no question.", where=str(file))
    return lines


class _Asking:
    def __init__(
        self, settings: Settings, searcher: Searcher, index: str, arguments: dict[str, Any], *, full: bool
    ) -> None:
        self._settings, self._searcher, self._index, self._arguments = settings, searcher, index, arguments
        self._full = full

    def ask(self, questions: Sequence[str], *, lines: bool = False) -> None:
        """Print what is found. lines: as JSON, one document a line, which several questions are anyway."""
        began = time.perf_counter()
        found = self._searcher.search(list(questions), **self._arguments)
        seconds = time.perf_counter() - began
        if self._settings.json:
            documents = [
                document(self._index, question, passages, seconds / len(questions))
                for question, passages in zip(questions, found, strict=True)
            ]
            if len(documents) == 1 and not lines:
                print_json(documents[0])
            else:
                for one in documents:
                    print_json_line(one)
            return
        for number, (question, passages) in enumerate(zip(questions, found, strict=True)):
            if len(questions) > 1:
                click.echo(("\n" if number else "") + visible(question))
            self._print(question, passages)
        say(self._settings, f"{len(questions)} asked in {seconds * 1000:.0f} ms.")

    def converse(self) -> None:
        """Read questions until there are no more; a fault in one does not end it."""
        prompted = sys.stdin.isatty()
        while True:
            if prompted:
                click.echo("? ", nl=False, err=True)
            line = sys.stdin.readline()
            if not line:
                break
            if not line.strip():
                continue
            try:
                self.ask([line.strip()], lines=True)
            except PlumblineError as error:
                if not prompted:
                    raise
                click.echo(f"error: {error}", err=True)

    def _print(self, question: str, passages: Sequence[Passage]) -> None:
        if not passages:
            click.echo("Nothing found.")
        for passage in passages:
            ranks = ", ".join(f"{way} {rank}" for way, rank in passage.ranks.items())
            title = passage.title or passage.chunk.document
            heading = f" › {passage.chunk.heading}" if passage.chunk.heading else ""
            click.echo(
                f"[{passage.rank}] {visible(title)}{visible(heading)}  {passage.score:.4f}"
                + (f"  ({ranks})" if ranks else "")
                + f"  {visible(passage.source)}"
            )
            click.echo(f"    {self._shown(passage.chunk.text, question)}")

    def _shown(self, text: str, question: str) -> str:
        from engine.rag.searching.terms import highlight

        flat = " ".join(text.split())
        if not self._full and len(flat) > _SHOWN:
            flat = flat[:_SHOWN].rsplit(" ", 1)[0] + " …"
        if not (self._settings.color and sys.stdout.isatty()):
            return visible(flat)
        parts, end = [], 0
        for start, stop in highlight(flat, question):
            parts += [visible(flat[end:start]), _BOLD, visible(flat[start:stop]), _PLAIN]
            end = stop
        return "".join([*parts, visible(flat[end:])])


def document(index: str, question: str, passages: Sequence[Passage], seconds: float) -> dict[str, Any]:
    """Return the JSON document of one question. `highlights`: where terms of it stand in the text, characters."""
    from engine.rag.searching.terms import highlight

    return {
        "index": index,
        "query": question,
        "passages": [
            {
                "rank": passage.rank,
                "score": json_number(passage.score),
                "doc_id": passage.chunk.document,
                "chunk_id": passage.chunk.id,
                "text": passage.chunk.text,
                "highlights": highlight(passage.chunk.text, question),
                "title": passage.title,
                "heading": passage.chunk.heading,
                "source": passage.source,
                "span": [passage.chunk.start, passage.chunk.end],
                "metadata": dict(passage.metadata),
                "ranks": dict(passage.ranks),
            }
            for passage in passages
        ],
        "seconds": seconds,
    }
