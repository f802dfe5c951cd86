"""Rows of training data as the trainer sees them, from what `engine data show --json` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textual.content import Content

from tui.text.safe import visible
from tui.text.wrapping import Line

_QUIET = "$foreground 60%"
_LOSS = "underline $success"
_SCORE = "reverse $accent"
_BORDER = ("|", "$foreground 25%")  # between tokens
LEGENDS = {
    "loss": ("underlined", _LOSS, "carries loss: the model learns to write it"),
    "score": ("reversed", _SCORE, "is where the score is read"),
}


def preview_lines(rows: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return each row: where it stands, and its tokens; those at which something happens are marked."""
    lines: list[Line] = []
    for row in rows:
        lines += [*_row(row), (0, Content())]
    return lines[:-1]


def legend(rows: Sequence[Mapping[str, Any]]) -> Content:
    """Return what the marks mean."""
    marks = {mark for row in rows for sequence in _sequences(row) for mark in LEGENDS if _has(sequence, mark)}
    parts: list[Content] = []
    for mark in marks:
        word, ink, means = LEGENDS[mark]
        parts.append(Content.assemble((word, ink), (f" {means}", _QUIET)))
    return Content("   ").join(parts) if parts else Content.assemble(("no token is marked", _QUIET))


def _sequences(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in (row, row.get("chosen"), row.get("rejected"), row.get("judged")) if each)


def _has(sequence: Mapping[str, Any], mark: str) -> bool:
    return any(token.get(mark) for token in sequence.get("tokens", ()))


def _row(row: Mapping[str, Any]) -> Iterator[Line]:
    facts = []
    if "loss_tokens" in row:
        facts.append(f"{row['length']} tokens, {row['loss_tokens']} with loss")
    elif "tokens" in row:
        facts.append(f"{row['length']} tokens")
    if row.get("group"):
        facts.append(f"group {row['group']}")
    if row.get("answers"):
        facts.append("right is " + " or ".join(map(str, row["answers"])))
    elif row.get("answerable") is False:
        facts.append("it has no answer: abstaining is right")
    place = str(row.get("place", "row")).rpartition("/")[2]
    head = Content.assemble((visible(place), "bold $accent"))
    yield 0, head + Content.assemble((visible(f"  {'; '.join(facts)}"), _QUIET))
    if "tokens" in row:
        yield 2, Content("  ") + _tokens(row["tokens"])
    for name in ("chosen", "rejected", "judged"):
        sequence = row.get(name)
        if sequence:
            label = f"{name if name != 'judged' else 'the reward model reads'} ({sequence['length']} tokens)  "
            yield 2, Content.assemble((f"  {label}", _QUIET)) + _tokens(sequence["tokens"])


def _tokens(tokens: Sequence[Mapping[str, Any]]) -> Content:
    parts: list[tuple[str, str]] = []
    for token in tokens:
        parts += [_BORDER, _token(token)] if parts else [_token(token)]
    return Content.assemble(*parts)


def _token(token: Mapping[str, Any]) -> tuple[str, str]:
    text = str(token.get("text", ""))
    shown = visible(text.replace("\n", "⏎").replace("\t", "␉")) or "␀"
    ink = _LOSS if token.get("loss") else _SCORE if token.get("score") else "$foreground 75%"
    return shown, ink
