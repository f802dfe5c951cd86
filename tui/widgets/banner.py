"""What must be known before the curves are read: lost contact, why a run failed or waits, what health rules found."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from engine.telemetry.health_observed import Act, Verdict
from engine.telemetry.numbers import duration
from engine.telemetry.records import Level
from engine.telemetry.states import State
from tui.actions import table
from tui.run.facts import RunFacts
from tui.standing import SILENT_AFTER
from tui.text.changes import tell
from tui.text.safe import visible

_MOST_NODES = 3  # named
_ADVICE = {  # what a person would do about a verdict, after the key that does it
    Act.KILL: "stops it at once.",
    Act.INTERRUPT: "stops it with a checkpoint.",
    Act.SAMPLES: "shows what it writes.",
    Act.LOG: "shows the log.",
}
_ACTIONS = {Act.KILL: "kill", Act.INTERRUPT: "interrupt", Act.SAMPLES: "samples", Act.LOG: "log"}
_BADNESS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "information"}
_SAME_RULE_STEPS = 100  # of what the trainer found itself nothing is said again so soon
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
    told = health_news(facts)
    if told:
        more = "" if len(told) == 1 else f" 1 of {len(told)}: {key_of('events')} shows all."
        return told[0][0], told[0][1] + more
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
        more = len(words) - _MOST_NODES
        words[_MOST_NODES:] = [f"{more} more node{'s' if more > 1 else ''}"]
    return f"{', '.join(words)}, reconnecting — values below are old." if words else None


def health_news(facts: RunFacts) -> list[News]:
    """Return what is wrong with the run, the worst first: what its trainer found, and what its curves and ranks say."""
    found = _finding(facts)
    told: list[News] = [("warning", found)] if found is not None else []
    for verdict in facts.verdicts:
        if not _is_told(facts, verdict):
            told.append((_BADNESS[verdict.level], f"{visible(verdict.sentence)}{advice(verdict)}"))
    return sorted(told, key=lambda one: ("error", "warning", "information").index(one[0]))


def advice(verdict: Verdict) -> str:
    """Return which key acts on a verdict, in words; empty where there is nothing to do."""
    return "" if verdict.act is None else f" {key_of(_ACTIONS[verdict.act])} {_ADVICE[verdict.act]}"


def key_of(action: str) -> str:
    """Return the key of an action."""
    entry = table.find(action)
    return entry.key_display if entry is not None else ""


def _is_told(facts: RunFacts, verdict: Verdict) -> bool:
    """Whether the trainer's own rule of the same name told of it lately."""
    step = facts.experiment.step
    return any(
        event.event == "health"
        and event.data.get("rule") == verdict.rule
        and (event.step or 0) >= step - _SAME_RULE_STEPS
        for event in facts.events
        if event.attempt == facts.experiment.attempts
    )


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
        before, self._told = self._told, told
        if before is None or told is None or before[0] != told[0]:
            self.remove_class("-information", "-warning", "-error")
        if told is not None:
            self.add_class(f"-{told[0]}")
            tell(self, Content(told[1]))
