"""What happened between two looks at the experiments that is worth a notice. Pure: nothing is read, nothing rings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.telemetry.states import State
from tui.text.safe import visible

_LONGEST = 240  # characters of a sentence
_ENDED = {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.LOST: "is lost"}


@dataclass(frozen=True, slots=True)
class Seen:
    """An experiment at one look."""

    id: str
    name: str
    state: State
    step: int = 0
    reason: str | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)  # sentences of its verdicts of severity error, by rule


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell. The sentence is one printable line, whatever the experiment is called."""

    experiment: str
    name: str
    event: str  # one of `wishes.EVENTS`
    sentence: str
    step: int


def notices(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> list[Notice]:
    """Return what is to be told, in the order of `after`.

    An experiment that was not there before may have news of its health, but did not end before anybody's eyes.
    """
    return [notice for now in after.values() for notice in _of(before.get(now.id), now)]


def _of(was: Seen | None, now: Seen) -> Iterator[Notice]:
    called = now.id if now.name == now.id else f"{now.id} ({now.name})"
    for rule, sentence in now.wrong.items():
        if was is None or rule not in was.wrong:
            yield _notice(now, "verdict", f"{called}: {sentence}")
    if was is not None and not was.state.ended and now.state in _ENDED:
        reason = f": {now.reason}" if now.reason and now.state is not State.SUCCEEDED else "."
        yield _notice(now, now.state.value, f"{called} {_ENDED[now.state]} at step {now.step}{reason}")


def _notice(seen: Seen, event: str, sentence: str) -> Notice:
    line = visible(" ".join(sentence.split()))
    return Notice(
        seen.id, visible(seen.name), event, line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…", seen.step
    )
