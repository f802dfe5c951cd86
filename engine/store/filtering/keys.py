"""The keys that a filter may test: what they are called, what kind of value they have, what they read.

Beside these, `spec.KEY` (or `cfg.KEY`) is a value of the spec, `last.METRIC` the last value of a metric, and
`best.METRIC` the best one that it had.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from engine.telemetry.metrics import HEADLINE
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

SPEC, CFG, LAST, BEST = "spec.", "cfg.", "last.", "best."  # how the names of the families begin
_BEST = re.compile(r"""(?<![^\s(|-])best\.([^\s:=!<>~|()"']+)""")
_PIPELINE, _STAGE = "pipeline:", "stage:"


class Sort(Enum):
    """What kind of value a key has: it decides what may be asked, and what `:` means."""

    TEXT = auto()  # : looks inside
    WORD = auto()  # one of a few words; : is how it begins
    WORDS = auto()  # : is one of them, whole; * stands for anything
    NUMBER = auto()
    SPAN = auto()  # of time, in seconds
    FLAG = auto()  # yes or no


@dataclass(frozen=True, slots=True)
class Key:
    """A key. `read` gives texts, a number or seconds (null: unknown), or a truth, as `sort` says."""

    name: str
    sort: Sort
    meaning: str
    read: Callable[[Experiment, float], Any]  # of an experiment, at a time in seconds since the epoch
    values: tuple[str, ...] = ()  # all that a WORD can be


def _text(name: str, meaning: str, read: Callable[[Experiment], str | None]) -> Key:
    return Key(name, Sort.TEXT, meaning, lambda experiment, now: (read(experiment) or "",))


def _words(name: str, meaning: str, read: Callable[[Experiment], Iterator[str] | tuple[str, ...]]) -> Key:
    return Key(name, Sort.WORDS, meaning, lambda experiment, now: tuple(read(experiment)))


def _number(name: str, meaning: str, read: Callable[[Experiment], float | None]) -> Key:
    return Key(name, Sort.NUMBER, meaning, lambda experiment, now: read(experiment))


def _since(name: str, meaning: str, read: Callable[[Experiment], float | None]) -> Key:
    def seconds(experiment: Experiment, now: float) -> float | None:
        moment = read(experiment)
        return None if moment is None else now - moment

    return Key(name, Sort.SPAN, meaning, seconds)


def _flag(name: str, meaning: str, read: Callable[[Experiment], bool]) -> Key:
    return Key(name, Sort.FLAG, meaning, lambda experiment, now: read(experiment))


def _tagged(experiment: Experiment, prefix: str) -> Iterator[str]:
    return (tag.removeprefix(prefix) for tag in experiment.tags if tag.startswith(prefix))


def _hosts(experiment: Experiment) -> Iterator[str]:
    yield from experiment.hosts
    if experiment.hostfile is not None:
        yield experiment.hostfile.rpartition("/")[2]


def _took(experiment: Experiment, now: float) -> float | None:
    return None if experiment.started_at is None else (experiment.ended_at or now) - experiment.started_at


KEYS: tuple[Key, ...] = (
    Key("kind", Sort.WORD, "sft, rm, ppo, …", lambda experiment, now: (experiment.kind,), tuple(HEADLINE)),
    Key("state", Sort.WORD, "how it stands", lambda experiment, now: (experiment.state.value,), tuple(State)),
    _words("tag", "a tag it has, whole; * for any end", lambda experiment: experiment.tags),
    _text("name", "part of its name", lambda experiment: experiment.name),
    _text("id", "part of its id", lambda experiment: experiment.id),
    _text("note", "part of its note", lambda experiment: experiment.note),
    _text("reason", "part of why it waits or failed", lambda experiment: experiment.reason),
    _words("host", "a node of its last attempt, or its hostfile", _hosts),
    _words("stage", "its kind, or its stage of a pipeline", lambda one: (one.kind, *_tagged(one, _STAGE))),
    _words("pipeline", "the pipeline it belongs to", lambda experiment: _tagged(experiment, _PIPELINE)),
    _words("parent", "the id that it was cloned from", lambda one: (one.parent_id,) if one.parent_id else ()),
    _number("step", "steps done", lambda experiment: experiment.step),
    _number("steps", "steps in all", lambda experiment: experiment.total_steps),
    _number("done", "share of the steps done: >50%", lambda experiment: experiment.progress),
    _number("nodes", "nodes of its last attempt", lambda experiment: experiment.nodes),
    _number("attempts", "how often it began", lambda experiment: experiment.attempts),
    _number("priority", "higher first", lambda experiment: experiment.priority),
    _number("exit", "exit code", lambda experiment: experiment.exit_code),
    _since("age", "time since it was made: <7d", lambda experiment: experiment.created_at),
    _since("ended", "time since its end: <1h", lambda experiment: experiment.ended_at),
    _since("heard", "time since its nodes were heard", lambda experiment: experiment.heard_at),
    Key("took", Sort.SPAN, "time from start to end, or until now: >1h30m", _took),
    _flag("archived", "yes or no", lambda experiment: experiment.archived_at is not None),
    _flag("pinned", "yes or no", lambda experiment: experiment.pinned_at is not None),
)
BY_NAME = {key.name: key for key in KEYS}


def family(name: str) -> tuple[str, str] | None:
    """Return ("spec.", "last." or "best.", the rest) for the name of a key of the spec or of a metric; else null."""
    for prefix, canonical in ((SPEC, SPEC), (CFG, SPEC), (LAST, LAST), (BEST, BEST)):
        if name.startswith(prefix):
            return canonical, name.removeprefix(prefix)
    return None


def best_metrics(*texts: str) -> tuple[str, ...]:
    """Return the metrics whose best values filters or orders may ask for, whether they can be read or not."""
    return tuple(dict.fromkeys(name for text in texts for name in _BEST.findall(text)))
