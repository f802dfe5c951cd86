"""Which of two answers is better: preference pairs, in each of the formats, and which of them are held out."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.data.conversations import Split, Unusable, as_question, held_out, is_judged, judged_answer, text_of
from engine.data.facts.questions import with_passage
from engine.data.sources import BrokenRows, Row, read_rows
from engine.errors import InvalidInput
from engine.spec.models import PreferenceData

Format = Literal["pairs", "ranked", "truth_judged", "halueval"]


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to a prompt, of which the first is better."""

    prompt: str  # with the passage before it, if there is one
    chosen: str
    rejected: str
    question: str  # in the form in which the same question is recognised; without the passage
    group: str | None
    place: str  # FILE:LINE


def read_preferences(data: PreferenceData, split: Split, broken: BrokenRows) -> Iterator[Preference]:
    """Yield the pairs of a split; rows that do not fit the format go to `broken`.

    Without an evaluation file, a hash of the question decides what is held out, as for conversations: all pairs of one
    question fall on the same side, in each run. Of a question with more pairs than `data.pairs_per_question`, the same
    ones are taken in each run.

    Raises:
        InvalidInput: if the file cannot be read, or its columns fit no format.
    """
    if data.eval is not None:
        yield from _all(data, Path(data.train if split == "train" else data.eval), broken)
    elif split == "train" or data.eval_fraction > 0.0:
        for pair in _all(data, Path(data.train), broken):
            if held_out(pair.question, data.eval_fraction) == (split == "eval"):
                yield pair


def _all(data: PreferenceData, path: Path, broken: BrokenRows) -> Iterator[Preference]:
    rows = read_rows(path, broken)
    first = next(rows, None)
    if first is None:
        return
    kind: Format = _detect(data, first) if data.format == "auto" else data.format
    every = itertools.chain([first], rows)
    if kind == "truth_judged":
        yield from _judged(data, every, broken)
    else:
        yield from _capped(_parsed(data, kind, every, broken), data.pairs_per_question)


def _parsed(data: PreferenceData, kind: Format, rows: Iterable[Row], broken: BrokenRows) -> Iterator[Preference]:
    for row in rows:
        try:
            yield from _PARSERS[kind](data, row)
        except Unusable as problem:
            broken.add(row.place, str(problem))


def _detect(data: PreferenceData, first: Row) -> Format:
    """Return the format that the columns of the first row show."""
    values = first.values
    if data.prompt_key in values and data.chosen_key in values and data.rejected_key in values:
        return "pairs"
    if data.prompt_key in values and "answers" in values:
        return "ranked"
    if "right_answer" in values and "hallucinated_answer" in values:
        return "halueval"
    if is_judged(values):
        return "truth_judged"
    raise InvalidInput(
        f"the columns {', '.join(map(str, values)) or '(none)'} fit no format of preference pairs.",
        hint="Name them: data.prompt_key, data.chosen_key and data.rejected_key.",
        where=first.place,
    )


def _capped(pairs: Iterable[Preference], most: int) -> Iterator[Preference]:
    """Yield at most so many pairs of a question, drawn by the question alone; 0: all."""
    if not most:
        yield from pairs
        return
    by_question: dict[str, list[Preference]] = defaultdict(list)
    for pair in pairs:
        by_question[pair.question].append(pair)
    for question, own in by_question.items():
        chosen = _draw(question).sample(range(len(own)), min(most, len(own)))
        yield from (own[index] for index in sorted(chosen))


def _draw(question: str) -> random.Random:
    return random.Random(f"plumbline-pairs-{question}")


def _preference(data: PreferenceData, row: Row, prompt: str, chosen: str, rejected: str) -> Preference:
    if chosen.strip() == rejected.strip():
        raise Unusable("prefers an answer to itself")
    evidence = row.values.get(data.evidence_key) if data.evidence_key is not None else None
    if evidence is not None and not isinstance(evidence, str):
        raise Unusable(f"has a {data.evidence_key!r} that is no text but {type(evidence).__name__}")
    group = row.values.get(data.group_key)
    return Preference(
        prompt=with_passage(evidence, prompt) if evidence else prompt,
        chosen=chosen,
        rejected=rejected,
        question=as_question(prompt),
        group=str(group) if group is not None else None,
        place=row.place,
    )


def _pair(data: PreferenceData, row: Row) -> Iterator[Preference]:
    texts = [text_of(row.values, key) for key in (data.prompt_key, data.chosen_key, data.rejected_key)]
    yield _preference(data, row, *texts)


def _ranked(data: PreferenceData, row: Row) -> list[Preference]:
    """Return all pairs of K answers of which one is better: has a higher score, or a lower rank."""
    prompt = text_of(row.values, data.prompt_key)
    answers, key = row.values.get("answers"), "scores" if row.values.get("scores") is not None else "ranks"
    if not isinstance(answers, list) or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise Unusable("has no list of texts under 'answers'")
    values = row.values.get(key)
    if not isinstance(values, list) or len(values) != len(answers) or not all(map(_is_number, values)):
        raise Unusable(f"has no number for each of its {len(answers)} answers under 'scores' or 'ranks'")
    worth = values if key == "scores" else [-value for value in values]
    ordered = [
        (one, other) if worth[one] > worth[other] else (other, one)
        for one, other in itertools.combinations(range(len(answers)), 2)
        if worth[one] != worth[other]
    ]
    return [_preference(data, row, prompt, answers[better], answers[worse]) for better, worse in ordered]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _halueval(data: PreferenceData, row: Row) -> Iterator[Preference]:
    keys = ("knowledge", "question", "right_answer", "hallucinated_answer")
    knowledge, question, right, hallucinated = (text_of(row.values, key) for key in keys)
    pair = _preference(data, row, question, right, hallucinated)
    prompt = question if data.evidence_key is None else with_passage(knowledge, question)
    yield Preference(prompt, pair.chosen, pair.rejected, pair.question, pair.group, pair.place)


_PARSERS: dict[Format, Callable[[PreferenceData, Row], Iterable[Preference]]] = {
    "pairs": _pair,
    "ranked": _ranked,
    "halueval": _halueval,
}


@dataclass(slots=True)
class _Answers:
    """The judged answers to one question, each by its text without case."""

    question: str
    place: str
    true: dict[str, str]
    false: dict[str, str]


def _judged(data: PreferenceData, rows: Iterable[Row], broken: BrokenRows) -> Iterator[Preference]:
    """Yield a true over a false answer to each question. Answers that were judged both ways count as neither."""
    questions: dict[str, _Answers] = {}
    for row in rows:
        try:
            question, answer, is_true = judged_answer(row.values)
        except Unusable as problem:
            broken.add(row.place, str(problem))
            continue
        if question and answer:
            own = questions.setdefault(as_question(question), _Answers(question, row.place, {}, {}))
            (own.true if is_true else own.false).setdefault(as_question(answer), answer)
    for key, own in questions.items():
        true = [text for answer, text in own.true.items() if answer not in own.false]
        false = [text for answer, text in own.false.items() if answer not in own.true]
        for better, worse in _crossed(true, false, _draw(key), data.pairs_per_question):
            yield Preference(own.question, better, worse, key, None, own.place)


def _crossed(true: list[str], false: list[str], draw: random.Random, most: int) -> Iterator[tuple[str, str]]:
    """Yield different pairs of a true and a false answer, all answers equally often, at most so many; 0: all."""
    if not true or not false:
        return
    draw.shuffle(true)
    draw.shuffle(false)
    # Down the diagonal until it closes, then down the next one.
    period = math.lcm(len(true), len(false))
    count = len(true) * len(false)
    for index in range(min(most, count) if most else count):
        yield true[index % len(true)], false[(index + index // period) % len(false)]
