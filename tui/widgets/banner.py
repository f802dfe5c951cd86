"""What must be known before the curves are read: lost contact, why a run failed or waits, what health rules found."""

from __future__ import annotations

import math

import numpy as np
from textual.widgets import Static

from engine.telemetry.metrics import HEADLINE
from engine.telemetry.numbers import duration
from engine.telemetry.states import State
from tui.run_facts import RunFacts
from tui.safe_text import visible
from tui.standing import SILENT_AFTER

_MOST_NODES = 3  # named
_RECENT = 50  # steps that a finding of the health rules stays in view
News = tuple[str, str]  # "error", "warning" or "information"; one sentence


def news(facts: RunFacts, now: float) -> News | None:
    """Return what is to be told first, if anything. now: seconds since the epoch."""
    experiment = facts.experiment
    lost = silence(facts, now)
    if lost is not None:
        return "warning", lost
    reason = visible(" ".join((experiment.reason or "").split()))
    if experiment.state in (State.FAILED, State.LOST):
        checkpoint = facts.last_checkpoint
        start = "from the beginning" if checkpoint is None else f"from the checkpoint of step {checkpoint}"
        return "error", f"{_sentence(reason or f'The run is {experiment.state}')} R resumes it {start}."
    sick = _not_a_number(facts)
    if sick is not None:
        return "error", sick
    found = _finding(facts)
    if found is not None:
        return "warning", found
    if reason:
        return "information", _sentence(reason)
    return None


def silence(facts: RunFacts, now: float) -> str | None:
    """Return which nodes of a live run are silent since when, in words; null while all report."""
    if facts.experiment.state.ended or not facts.experiment.attempts:
        return None
    words = []
    for contact in facts.contacts:
        age = now - contact.heard_at if contact.heard_at is not None else None
        heard = age is not None and age < SILENT_AFTER
        if contact.attempt != facts.experiment.attempts or (heard and not contact.message):
            continue
        since = f"silent {duration(age)}" if age is not None else "not heard yet"
        why = f" ({visible(' '.join(contact.message.split())).rstrip('.')})" if contact.message else ""
        words.append(f"{visible(contact.host)} {since}{why}")
    if len(words) > _MOST_NODES:
        words[_MOST_NODES:] = [f"{len(words) - _MOST_NODES} more nodes"]
    return f"{', '.join(words)}, reconnecting — values below are old." if words else None


def _not_a_number(facts: RunFacts) -> str | None:
    """Return since which step the headline metric has no finite value, in words."""
    name = HEADLINE.get(facts.experiment.kind, "loss")
    curve = facts.curves.series.get(name)
    if curve is None or not curve.value.size or math.isfinite(curve.value[-1]):
        return None
    finite = np.flatnonzero(np.isfinite(curve.value))
    since = int(curve.step[finite[-1] + 1] if finite.size else curve.step[0])
    advice = "" if facts.experiment.state.ended else " K stops it at once."
    return f"{name} is no finite number since step {since}.{advice}"


def _finding(facts: RunFacts) -> str | None:
    """Return what the health rules found last, while it is recent or the run is paused by it."""
    experiment = facts.experiment
    told = [event for event in facts.events if event.attempt == experiment.attempts]
    found = [event for event in told if event.event in ("health", "rolled_back") and event.step is not None]
    if not found:
        return None
    step = found[-1].step or 0
    words = " ".join(visible(" ".join(event.message.split())) for event in found if event.step == step)
    if any(event.event == "paused" for event in told):
        return f"Paused at step {step}: {words} R resumes it." if experiment.state is State.STOPPED else None
    return f"Step {step}: {words}" if not experiment.state.ended and experiment.step <= step + _RECENT else None


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


class Banner(Static):
    """One sentence, or nothing at all."""

    DEFAULT_CSS = """
    Banner {
        display: none;
        height: auto;
        max-height: 3;
        padding: 0 1;
        color: $foreground 85%;
        background: $panel;
        &.-information, &.-warning, &.-error { display: block; }
        &.-warning { color: $text-warning; background: $warning-muted; }
        &.-error { color: $text-error; background: $error-muted; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._told: News | None = None

    @property
    def sentence(self) -> str:
        """What is told; empty if nothing is."""
        return self._told[1] if self._told else ""

    def tell(self, told: News | None) -> None:
        """Tell this, and nothing else."""
        if told == self._told:
            return
        self._told = told
        self.remove_class("-information", "-warning", "-error")
        if told is not None:
            self.add_class(f"-{told[0]}")
            self.update(told[1])
