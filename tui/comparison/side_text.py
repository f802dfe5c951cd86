"""The words of a pair of answers: prompt, titles and figures of each side."""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual.content import Content

from engine.report.comparing.saying import Said
from engine.report.comparing.words import changed
from engine.telemetry.numbers import short
from tui.canvas.charset import current
from tui.comparison.browsing import Browser, Place
from tui.comparison.marking import marked
from tui.comparison.reading import ComparedRun
from tui.text.safe import visible

_QUIET = "$foreground 60%"
_OUTCOME_INKS = {"correct": "$success", "abstained": "$warning", "hallucinated": "$error"}
_MOST_SCORES = 4


@dataclass(frozen=True, slots=True)
class SideText:
    """One side, ready to be shown."""

    title: str
    told: str  # figures
    text: Content


def side_texts(browser: Browser, runs: list[ComparedRun]) -> tuple[SideText, SideText] | None:
    """Return both sides as they are seen; null where there is no pair."""
    seen = browser.seen
    if seen is None:
        return None
    (_, left), (_, right) = seen
    differing = changed(left.response, right.response) if browser.words else ([], [])
    if browser.blind:
        told = [SideText(f"{where}: hidden", "", Content()) for where in ("left", "right")]
    else:
        told = [_named(browser, runs, place, said) for place, said in seen]
    texts = [marked(said.response, said.marks, own) for (_, said), own in zip(seen, differing, strict=True)]
    one, other = (
        replace(side, text=Content("\n\n").join([text, side.text]) if side.text else text)
        for side, text in zip(told, texts, strict=True)
    )
    return one, other


def prompt_text(prompt: str) -> Content:
    """Return a prompt: what stands before the question is quiet."""
    lines = [visible(line) for line in prompt.splitlines() if line.strip()] or ["(no prompt)"]
    before = [Content.assemble((line, _QUIET)) for line in lines[:-1]]
    return Content("\n").join([*before, Content(lines[-1])])


def side_name(place: Place, runs: list[ComparedRun]) -> str:
    """Return e.g. "A ppo-0001 step 60"."""
    run = runs[place[0]]
    return f"{run.letter} {run.id} step {place[1]}"


def _named(browser: Browser, runs: list[ComparedRun], place: Place, said: Said) -> SideText:
    """Return who wrote it, and what it is; not yet the answer."""
    run, steps = runs[place[0]], list(browser.scripts[place[0]])
    number = f" ({steps.index(place[1]) + 1} of {len(steps)})" if len(steps) > 1 else ""
    title = f"{run.letter} {current().markers[run.place]} {run.id} step {place[1]}{number}"
    outcome = Content()
    if said.outcome is not None:
        outcome = Content.assemble((said.outcome, _OUTCOME_INKS.get(said.outcome, "")))
    return SideText(title, _figures(said), outcome)


def _figures(said: Said) -> str:
    shown = [(name, value) for name, value in said.scores.items() if name not in _OUTCOME_INKS][:_MOST_SCORES]
    told = [f"{visible(name)} {short(value)}" for name, value in shown]
    if said.marks:
        told.append(f"{len(said.marks)} unsupported {{…}}")
    return f" {current().separator} ".join(told)
