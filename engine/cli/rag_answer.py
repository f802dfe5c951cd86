"""`engine rag answer`: a model's answer to a question, with passages of an index beside the one without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import NotFound, Refused
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.evaluate.faithfulness.support import Support
    from engine.generate.answering import Answered
    from engine.rag.records import Passage


@dataclass(frozen=True, slots=True)
class _Said:
    """What a model says with some passages, or with none."""

    passages: tuple[Passage, ...] | None
    answer: Answered
    support: Support | None


@click.command()
@click.argument("index")
@click.argument("question")
@click.option("--model", required=True, help="Model folder, or an experiment that made one.")
@click.option("-k", "number", type=click.IntRange(min=1), default=3, show_default=True, help="Passages.")
@click.option("--mode", type=click.Choice(["auto", "dense", "lexical", "hybrid"]), default="auto", show_default=True)
@click.option("--fusion", type=click.Choice(["ranks", "scores"]), default="ranks", show_default=True, help="Of hybrid.")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only documents with this; also != < <= > >= ~.")
@click.option("--style", type=click.Choice(["numbered", "plain"]), default="numbered", show_default=True)
@click.option(
    "--max-response-length",
    type=click.IntRange(min=1),
    help="Tokens (default: 128, or a quarter of what the model reads).",
)
@click.option("--scorer", default="lexical", show_default=True, help="What tells support: exact, lexical, nli:FOLDER.")
@click.option("--min-support", type=click.FloatRange(0, 1), help="Withhold answers that passages support less.")
@click.option("--embedder", type=click.Path(path_type=Path), help="Folder of the embedder, if it was moved.")
@global_options
@pass_settings
def answer(
    settings: Settings,
    *,
    index: str,
    question: str,
    model: str,
    number: int,
    mode: str,
    fusion: str,
    where: tuple[str, ...],
    style: str,
    max_response_length: int | None,
    scorer: str,
    min_support: float | None,
    embedder: Path | None,
) -> None:
    """Answer QUESTION with passages of INDEX and without them, and tell what the passages support."""
    from engine.cli.indexes import find_index
    from engine.rag.embedding import environment

    found = find_index(settings, index)
    folder = find_model(settings, model)
    environment.prepare()

    from engine.evaluate.faithfulness.naming import scorer_from
    from engine.evaluate.faithfulness.support import support, weakest_support
    from engine.generate.answering import Answerer, Writing
    from engine.generate.grounding import Evidence, Grounding
    from engine.rag.opening import open_searcher

    judge = scorer_from(scorer)
    arguments: dict[str, Any] = {"mode": mode, "fusion": fusion, "where": where}
    (passages,) = open_searcher(found.folder, embedder).search([question], number, **arguments)
    evidence = [Evidence(one.chunk.text, one.title, one.chunk.document) for one in passages]
    grounding = Grounding("numbered" if style == "numbered" else "plain")
    answerer = Answerer.load(folder)
    writing = Writing(max_response_length or answerer.usual_length)
    (with_them,) = answerer.answer(
        [question],
        [evidence],
        writing,
        grounding=grounding,
        check=weakest_support(judge, writing.abstentions),
        min_support=min_support,
    )
    (without,) = answerer.answer([question], None, writing)
    read = tuple(passages[place] for place in with_them.passages)
    (told,) = support(
        [with_them.text],
        [[evidence[place].premise for place in with_them.passages]],
        judge,
        questions=[question],
        abstentions=writing.abstentions,
    )
    both = [_Said(read, with_them, told), _Said(None, without, None)]
    if settings.json:
        print_json(
            {"index": index, "model": str(folder), "question": question, "answers": [_document(one) for one in both]}
        )
    else:
        click.echo("\n\n".join(_page(one) for one in both))


def find_model(settings: Settings, text: str) -> Path:
    """Return the model folder that a text means: a path, or what an experiment made.

    Raises:
        NotFound: if there is none.
        Refused: if it is on another machine.
    """
    folder = Path(text).expanduser()
    if (folder / "config.json").is_file():
        return folder.resolve()
    if not settings.database.exists():
        raise NotFound("is no model folder, and there is no database of experiments to look it up in.", where=text)
    from engine.generate.made_models import made_by
    from engine.store import experiments

    store = settings.open_store()
    identity = experiments.resolve(store, text)
    model = made_by(store, experiments.get(store, identity))
    if model is None:
        raise NotFound(f"{identity} has made no model that answers.")
    if not model.is_here:
        kind = model.artifact.kind
        raise Refused(
            f"its {kind} {model.artifact.path} is not on this machine.",
            hint=f"Bring it here: engine export {identity} --to FOLDER --what {kind}.",
            where=text,
        )
    return model.folder


def _page(said: _Said) -> str:
    answer = said.answer
    head = "WITHOUT PASSAGES" if said.passages is None else f"WITH {len(said.passages)} PASSAGES"
    lines = [head, visible(answer.text)]
    notes = ["it abstains"] if answer.abstained else []
    notes.append(f"probability {answer.probability:.2f}")
    if answer.withheld is not None:
        notes.append(f"withheld, since passages do not support it: {visible(answer.withheld)}")
    if answer.wrong_citations:
        notes.append(f"cites passages that there are not: {', '.join(map(str, answer.wrong_citations))}")
    lines.append(f"  ({'; '.join(notes)})")
    if said.support is not None:
        lines += [
            f"  {'supported  ' if claim.supported else 'UNSUPPORTED'} {claim.score:.2f}  {visible(claim.text)}"
            for claim in said.support.claims
        ]
    for place, passage in enumerate(said.passages or (), 1):
        text = " ".join(passage.chunk.text.split())
        lines.append(f"  [{place}] {visible(passage.title or passage.chunk.document)}: {visible(text[:300])}")
    return "\n".join(lines)


def _document(said: _Said) -> dict[str, Any]:
    answer = said.answer
    passages: Sequence[dict[str, Any]] | None = None
    if said.passages is not None:
        passages = [
            {"doc_id": one.chunk.document, "chunk_id": one.chunk.id, "title": one.title, "text": one.chunk.text}
            for one in said.passages
        ]
    support = None
    if said.support is not None:
        support = {
            "groundedness": said.support.groundedness,
            "claims": [asdict(claim) for claim in said.support.claims],
        }
    return {**asdict(answer), "passages": passages, "support": support}
