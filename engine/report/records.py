"""What a report says, before it is written in any form. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOSED_BOOK = "closed book"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of the files of experiments, by their ids; the database alone knows the rest."""

    evaluations: Mapping[str, Path]  # folders with panel.json and answers.jsonl
    provenance: Mapping[str, Mapping[str, Any]]  # plumbline.json of what each made
    problems: Sequence[str]  # a sentence on each file that could not be had


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval, which is null where the answers themselves are not at hand."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The figures of some questions. counts: answers by outcome; empty where only shares are known."""

    questions: int
    counts: Mapping[str, int]
    figures: Mapping[str, Figure | None]


@dataclass(frozen=True, slots=True)
class Questions:
    """What was asked: evaluations are compared only if they asked the same."""

    file: str  # its name, without its folder
    split: str | None
    limit: int  # 0: all
    format: str  # open or multiple_choice


@dataclass(frozen=True, slots=True)
class Stage:
    """A model that answers."""

    label: str  # "SFT"
    name: str  # "facts-sft", or the name of a folder
    experiment: str | None  # that made it; null: it was there before


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation in the headline."""

    evaluation: str  # id
    stage: int  # index of its model
    setting: int  # index of what it read
    label: str  # "PPO + retrieval"
    state: str
    note: str | None  # what is to be said of its figures, or why there are none
    part: Part | None
    groups: Mapping[str, Part]
    retrieval: Mapping[str, Part]  # hit, miss: where a passage held the answer, and where none did
    causes: Mapping[str, int]  # of failures
    calibration: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a PPO run logged of its own answer to a question."""

    experiment: str
    step: int
    response: str
    scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that an answer had."""

    number: int  # from 1: [n] cites it
    document: str
    title: str
    text: str
    cited: bool


@dataclass(frozen=True, slots=True)
class Given:
    """An answer. outcome: what it was judged to be."""

    text: str
    outcome: str
    confidence: float | None
    cause: str | None
    wrong_citations: tuple[int, ...]
    passages: tuple[Passage, ...] | None  # null: closed book


@dataclass(frozen=True, slots=True)
class Example:
    """A question whose answer changed."""

    id: str
    question: str
    group: str | None
    answerable: bool | None
    accepted: tuple[str, ...]
    before: Given
    after: Given
    sampled: Sampled | None


@dataclass(frozen=True, slots=True)
class Change:
    """What changed from one evaluation to another of the same questions."""

    before: str  # ids of the evaluations
    after: str
    before_label: str
    after_label: str
    paired: int  # questions that both were asked
    unpaired: int
    counts: Mapping[str, Mapping[str, int]]  # by the outcome before, then after
    mended: int
    broken: int
    newly_abstains: int
    newly_hallucinates: int
    better: int  # mended, or abstaining where it hallucinated
    p_correct: float
    p_hallucinated: float
    differences: Mapping[str, Figure | None]  # after − before
    better_examples: tuple[Example, ...]
    hallucinated_examples: tuple[Example, ...]
    note: str | None  # why there are no examples


@dataclass(frozen=True, slots=True)
class Headline:
    """All evaluations that asked the same questions."""

    questions: Questions
    stages: tuple[Stage, ...]
    settings: tuple[str, ...]  # "closed book", "retrieval", …
    measured: tuple[Measured, ...]
    chain: tuple[str, ...]  # ids of those that tell the story, in order
    left_out: tuple[str, ...]  # a sentence on each evaluation that another one repeats
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A series, thinned out so that its extremes stay. A value that is no finite number is null."""

    name: str
    step: tuple[int, ...]
    value: tuple[float | None, ...]
    smoothed: tuple[float | None, ...] | None  # at the same steps
    lost: tuple[int, ...]  # steps whose value is no finite number
    last: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Series that stand in one chart."""

    title: str
    unit: str | None
    lines: tuple[Line, ...]
    leading: bool  # whether it is one of the first that tell of its kind


@dataclass(frozen=True, slots=True)
class Taken:
    """What an experiment took from another one."""

    keys: tuple[str, ...]  # of the spec
    parent: str  # id
    name: str
    kind: str
    step: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Made:
    """What an experiment made."""

    kind: str
    step: int | None
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A launch of an experiment."""

    number: int
    state: str
    resumed_step: int | None
    started_at: float | None
    ended_at: float | None
    nodes: tuple[str, ...]
    slots: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Incident:
    """A warning, an error, or what the health rules found."""

    time: float
    step: int | None
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class SpecKey:
    """A key of a spec that is not at its default, or not what it is in the other spec."""

    key: str
    value: Any
    other: Any  # in the spec that it is held against; null also where that has no such key
    differs: bool


@dataclass(frozen=True, slots=True)
class Run:
    """An experiment."""

    id: str
    name: str
    kind: str
    state: str
    reason: str | None
    note: str | None
    step: int
    total_steps: int | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    hostfile: str | None
    spec_hash: str
    spec: str  # canonical YAML
    against: str | None  # id of the experiment whose spec it is held against
    keys: tuple[SpecKey, ...]
    taken: tuple[Taken, ...]
    made: tuple[Made, ...]
    used_by: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    incidents: tuple[Incident, ...]  # the newest
    incidents_left_out: int
    software: Mapping[str, str]  # versions and commit, as far as they are known
    last: Mapping[str, float | None]  # last value of each metric
    marks: tuple[tuple[int, str], ...]  # (step, restart or rollback)
    charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole."""

    title: str
    as_of: float | None  # when the database last heard of these experiments
    summary: str
    notes: tuple[str, ...]
    headlines: tuple[Headline, ...]
    runs: tuple[Run, ...]
