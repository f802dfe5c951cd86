"""Training data as the trainer sees it: tokens, and what happens at which of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.data.examples import Example
    from engine.data.pairs import TokenisedPair
    from engine.data.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a sequence."""

    id: int
    text: str
    marked: bool = False  # something happens here: it carries loss, or the score is read


@dataclass(frozen=True, slots=True)
class Item:
    """What one row becomes."""

    heading: str
    sequences: Sequence[tuple[str, Sequence[Token]]]  # each with its name; empty: it needs none
    document: dict[str, Any]  # the same for JSON

    def lines(self, columns: int, *, color: bool) -> Iterator[str]:
        """Yield the item as lines of at most so many columns, if no token is wider."""
        yield self.heading
        for name, tokens in self.sequences:
            if name:
                yield name
            yield from _marked_lines(tokens, columns, color=color)


def example_item(example: Example, tokenizer: Any) -> Item:
    """Return an example of supervised fine-tuning; the tokens with loss are marked."""
    tokens = _tokens(example.input_ids, tokenizer, example.loss_mask)
    loss = sum(example.loss_mask)
    return Item(
        f"{example.place}: {len(tokens)} tokens, {loss} with loss",
        [("", tokens)],
        {
            "place": example.place,
            "prompt_length": example.prompt_length,
            "loss_tokens": loss,
            **_sequence(tokens, mark="loss"),
        },
    )


def pair_item(pair: TokenisedPair, tokenizer: Any) -> Item:
    """Return a preference pair; the tokens are marked at which the score is read."""
    preference = pair.preference
    both = {
        name: _tokens(ids, tokenizer, [*[False] * (len(ids) - 1), True])
        for name, ids in (("chosen", pair.chosen), ("rejected", pair.rejected))
    }
    group = "" if preference.group is None else f", group {visible(preference.group)}"
    return Item(
        f"{preference.place}: a pair{group}",
        [(f"{name}, {len(tokens)} tokens:", tokens) for name, tokens in both.items()],
        {
            "place": preference.place,
            "group": preference.group,
            **{name: _sequence(tokens, mark="score") for name, tokens in both.items()},
        },
    )


def prompt_item(prompt: Prompt, judged: Sequence[int] | None, tokenizer: Any) -> Item:
    """Return a prompt, and what the reward model reads in place of it, None if no one does."""
    tokens = _tokens(prompt.ids, tokenizer)
    read = None if judged is None else _tokens(judged, tokenizer)
    sequences = [(f"the policy reads {len(tokens)} tokens:", tokens)]
    if read is not None:
        sequences.append((f"the reward model reads {len(read)} tokens before the answer:", read))
    group = "" if prompt.group is None else f", group {visible(prompt.group)}"
    return Item(
        f"{prompt.place}: {_right_answers(prompt)}{group}",
        sequences,
        {
            "place": prompt.place,
            "group": prompt.group,
            "answers": list(prompt.answers),
            "answerable": prompt.answerable,
            **_sequence(tokens),
            "judged": None if read is None else _sequence(read),
        },
    )


def _right_answers(prompt: Prompt) -> str:
    if prompt.answerable is False:
        return "it has no answer: abstaining is right"
    if not prompt.answers:
        return "nothing is known about right answers"
    return f"right is {' or '.join(map(visible, prompt.answers))}"


def _tokens(ids: Sequence[int], tokenizer: Any, marks: Iterable[bool] = ()) -> list[Token]:
    marked = list(marks) or [False] * len(ids)
    return [Token(token, str(tokenizer.decode([token])), mark) for token, mark in zip(ids, marked, strict=True)]


def _sequence(tokens: Sequence[Token], mark: str | None = None) -> dict[str, Any]:
    """Return a sequence for JSON. mark: what a mark is called."""
    return {
        "length": len(tokens),
        "tokens": [
            {"id": token.id, "text": token.text, **({} if mark is None else {mark: token.marked})} for token in tokens
        ],
    }


def _marked_lines(tokens: Sequence[Token], columns: int, *, color: bool) -> Iterator[str]:
    """Yield lines of tokens, `|` between them, each with a line of `^` below those that are marked."""
    from rich.cells import cell_len

    texts, marks, used = "", "", 0
    for token in tokens:
        # A line break stays a token like any other.
        shown = visible(token.text).replace("\t", "␉") or "␀"
        size = cell_len(shown)
        if used and used + 1 + size > columns:
            yield from (line for line in (texts, marks.rstrip()) if line)
            texts, marks, used = "", "", 0
        if used:
            texts, marks, used = texts + "|", marks + " ", used + 1
        texts += click.style(shown, fg="green", bold=True) if color and token.marked else shown
        marks += ("^" if token.marked else " ") * size
        used += size
    yield from (line for line in (texts, marks.rstrip()) if line)
