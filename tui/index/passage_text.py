"""What one index found for a question, and what a model made of it, as text. All of it comes from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from engine.telemetry.numbers import duration, short
from engine.telemetry.states import State
from tui.text.pane import QUIET, head, plain
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import glyph

_MOST_CHARACTERS = 3_000  # of a passage
_FOUND = "bold $accent"  # words of the question
_INDENT = 4  # cells


@dataclass(frozen=True, slots=True)
class Lane:
    """What is shown of one index. Documents are those of `engine rag query` and `engine rag answer`."""

    found: Mapping[str, Any] | None = None
    answered: Mapping[str, Any] | None = None
    asking: str = ""  # what it is being asked for now
    since: float = 0.0  # when that began, monotonic seconds
    problem: str | None = None  # why there is no answer


def lane_lines(lane: Lane, now: float) -> list[Line]:
    """Return the text of a lane. now: monotonic seconds."""
    lines: list[Line] = []
    if lane.asking:
        lines.append(plain(f"{lane.asking}… {duration(now - lane.since)}   esc gives up", "$warning"))
    if lane.problem is not None:
        lines.append(plain(lane.problem, "$error"))
    if lane.answered is not None:
        lines += [*_gap(lines), *_answers(lane.answered)]
    if lane.found is not None:
        lines += [*_gap(lines), *_passages(lane.found)]
    return lines


def _gap(lines: Sequence[Line]) -> list[Line]:
    return [(0, Content())] if lines else []


def _passages(found: Mapping[str, Any]) -> Iterator[Line]:
    passages = found["passages"]
    if not passages:
        yield plain("Nothing found. v searches in another mode.", QUIET)
    for number, passage in enumerate(passages):
        if number:
            yield 0, Content()
        yield from _passage(passage)


def _passage(passage: Mapping[str, Any]) -> Iterator[Line]:
    title = visible(str(passage["title"] or passage["doc_id"]))
    heading = visible(str(passage["heading"]))
    ranks = ", ".join(f"{way} {rank}" for way, rank in passage["ranks"].items())
    score = passage["score"]
    yield (
        _INDENT,
        Content.assemble(
            (f"[{passage['rank']}] ", "$accent"),
            (f"{short(score) if score is not None and math.isfinite(score) else '–'}  ", "bold"),
            (title, "bold"),
            (f" › {heading}" if heading else "", "bold"),
        ),
    )
    yield _INDENT, Content.assemble((" " * _INDENT, ""), (f"{visible(str(passage['source']))}  {ranks}", QUIET))
    yield _INDENT, Content.assemble((" " * _INDENT, ""), _marked(str(passage["text"]), passage.get("highlights") or ()))


def _marked(text: str, spans: Sequence[Sequence[int]]) -> Content:
    """Return a passage with the words of the question marked."""
    parts: list[tuple[str, str]] = []
    end = 0
    for start, stop in spans:
        if not end <= start < stop <= _MOST_CHARACTERS:
            continue
        parts += [(_flat(text[end:start]), ""), (_flat(text[start:stop]), _FOUND)]
        end = stop
    parts.append((_flat(text[end:_MOST_CHARACTERS]), ""))
    if len(text) > _MOST_CHARACTERS:
        parts.append((" …", QUIET))
    return Content.assemble(*parts)


def _flat(text: str) -> str:
    """Return a piece of a passage on one line; the space at its ends stays."""
    return visible(" ".join(text.replace("\r", "\n").split("\n")))


def _answers(answered: Mapping[str, Any]) -> Iterator[Line]:
    for number, one in enumerate(answered["answers"]):
        if number:
            yield 0, Content()
        passages = one["passages"]
        count = 0 if passages is None else len(passages)
        yield head("without passages" if passages is None else f"with {count} passage{'s' if count != 1 else ''}")
        yield plain(str(one["text"]) or "(nothing)", "italic" if one["abstained"] else "")
        yield plain("; ".join(_notes(one)), QUIET)
        for claim in (one["support"] or {}).get("claims", ()):
            yield _claim(claim)


def _notes(one: Mapping[str, Any]) -> Iterator[str]:
    if one["abstained"]:
        yield "it abstains"
    yield f"probability {one['probability']:.2f}"
    if not one["ended"]:
        yield "cut at its longest length"
    if one["wrong_citations"]:
        yield f"cites passages that there are not: {', '.join(map(str, one['wrong_citations']))}"


def _claim(claim: Mapping[str, Any]) -> Line:
    supported = bool(claim["supported"])
    sign = glyph(State.SUCCEEDED if supported else State.FAILED)
    word, ink = ("supported", "$success") if supported else ("unsupported", "$error")
    return 2, Content.assemble((f"{sign} {word} {claim['score']:.2f}  ", ink), visible(str(claim["text"])))
