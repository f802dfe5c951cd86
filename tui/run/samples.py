"""What the model of a run wrote, as text: prompt, passages, response, verdict and rewards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from engine.telemetry.numbers import short
from engine.telemetry.states import State
from tui.canvas.charset import current
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import glyph

if TYPE_CHECKING:
    from engine.store.samples import Sample

_QUIET = "$foreground 60%"
_MOST_LINES = 4_000  # what is older, `engine samples` shows
_LABEL = 12  # cells
_NUMBERED = re.compile(r"\A(?:.*\n)?Passages:\n(?P<passages>.*)\n\nQuestion: (?P<question>.*)\Z", re.DOTALL)
_ANSWERS = ("ppo", "eval")  # kinds whose prompts end in a question, after the passages it is to be answered from
_OUTCOMES = {
    "correct": (State.SUCCEEDED, "$success"),
    "abstained": (State.QUEUED, "$warning"),
    "hallucinated": (State.FAILED, "$error"),
}


def samples_lines(samples: Sequence[Sample], kind: str = "") -> list[Line]:
    """Return all that is known of each sample, those of the newest step first. kind: of the experiment."""
    lines: list[Line] = []
    for step, group in itertools.groupby(reversed(samples), key=lambda sample: sample.step):
        found = list(group)[::-1]
        number = f"{len(found)} sample{'s' if len(found) != 1 else ''}"
        lines.append((0, Content.assemble((f"step {step}", "bold $accent"), (f"  {number}", _QUIET))))
        for sample in found:
            lines += [*_sample(sample, kind), (0, Content())]
        if len(lines) > _MOST_LINES:
            break
    return lines[:-1]


def parted(prompt: str, kind: str) -> tuple[str, str, str]:
    """Return the question of a prompt, what stands before it, and what that is: "passages" or "context".

    Numbered passages are told by their form. In other prompts with several lines the last one is the question.
    """
    numbered = _NUMBERED.match(prompt)
    if numbered is not None:
        return numbered["question"], numbered["passages"], "passages"
    before, newline, last = prompt.rstrip().rpartition("\n")
    if kind in _ANSWERS and newline and last:
        return last, before, "context"
    return prompt, "", ""


def _sample(sample: Sample, kind: str) -> Iterator[Line]:
    reference = sample.reference
    same = reference is not None and reference.split() == sample.response.split()
    question, before, name = parted(sample.prompt, kind)
    if before:
        yield from _field(name, before, "$foreground 75%")
    yield from _field("prompt", question, _QUIET)
    yield from _field(
        f"response {glyph(State.SUCCEEDED)}" if same else "response", sample.response, "$success" if same else ""
    )
    if reference is not None and not same:
        yield from _field("reference", reference, "$accent")
    yield from _judged(sample.scores)


def _judged(scores: Mapping[str, float]) -> Iterator[Line]:
    """Yield the verdict on a response, its score with the terms that make it, and what else is known."""
    outcome = next((name for name in _OUTCOMES if scores.get(name) == 1.0), None)
    if outcome is not None:
        state, ink = _OUTCOMES[outcome]
        yield _LABEL, Content.assemble((f"{'verdict':<{_LABEL}}", _QUIET), (f"{glyph(state)} {outcome}", ink))
    left = {name: value for name, value in scores.items() if outcome is None or name not in _OUTCOMES}
    terms = {name.removeprefix("reward/"): left.pop(name) for name in list(left) if name.startswith("reward/")}
    if terms and "score" in left:
        told = " + ".join(f"{visible(name)} {short(value)}" for name, value in terms.items())
        score = short(left.pop("score"))
        line = Content.assemble((f"{'reward':<{_LABEL}}", _QUIET), (score, "bold"), (f"  = {told}", _QUIET))
        yield _LABEL, line
        terms = {}
    rest = {**{f"reward/{name}": value for name, value in terms.items()}, **left}
    if rest:
        separator = f" {current().separator} "
        told = separator.join(f"{name} {short(value)}" for name, value in rest.items())
        yield from _field("scores", told, _QUIET)


def _field(name: str, text: str, style: str) -> Iterator[Line]:
    label = f"{name:<{_LABEL}}"
    for line in [visible(line) for line in text.splitlines()] or ["(nothing)"]:
        yield _LABEL, Content.assemble((label, _QUIET), (line, style))
        label = " " * _LABEL
