"""What changed from one evaluation to the next, question by question, with examples to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from engine.errors import PlumblineError
from engine.evaluate.intervals import Interval, paired_bootstrap
from engine.evaluate.outcomes import Judged
from engine.evaluate.panel import figures
from engine.evaluate.transitions import transitions
from engine.report.curves import finite
from engine.report.evaluations import Known
from engine.report.records import Change, Example, Figure, Given, Headline, Measured, Passage, Sampled
from engine.store.samples import Sample

_DIFFERENCES = ("correct", "abstained", "hallucinated", "score", "hallucinated_of_attempted", "over_refusal")


@dataclass(frozen=True, slots=True)
class _Log:
    """What the run that made a model wrote while it trained."""

    experiment: str
    samples: Sequence[Sample]

    def of(self, question: str) -> Sampled | None:
        """Return what it wrote last of a question: prompts hold the question, and maybe passages before it."""
        wanted = question.strip()
        if not wanted:
            return None
        for sample in reversed(self.samples):
            if wanted in sample.prompt:
                return Sampled(self.experiment, sample.step, sample.response, finite(sample.scores))
        return None


def changes(
    headline: Headline, known: Mapping[str, Known], samples: Mapping[str, Sequence[Sample]], examples: int
) -> list[Change]:
    """Return what changed along the stages, then from the first to the last.

    Arguments:
        samples: what each PPO run wrote, by its id.
        examples: how many of each kind are shown, at most.
    """
    by_id = {one.evaluation: one for one in headline.measured}
    found = []
    for before, after in _pairs(headline):
        if known[before].judged and known[after].judged:
            maker = headline.stages[by_id[after].stage].experiment
            log = _Log(maker, samples.get(maker, ())) if maker is not None else None
            found.append(_change((by_id[before], known[before]), (by_id[after], known[after]), log, examples))
    return found


def _pairs(headline: Headline) -> Iterator[tuple[str, str]]:
    """Yield which evaluations are held against each other, each pair once."""
    pairs = [*pairwise(headline.chain)]
    for setting in range(len(headline.settings)):
        pairs += pairwise(
            one.evaluation for one in headline.measured if one.setting == setting and one.part is not None
        )
    if len(headline.chain) > 2:
        pairs.append((headline.chain[0], headline.chain[-1]))
    yield from dict.fromkeys(pairs)


def _change(old: tuple[Measured, Known], new: tuple[Measured, Known], log: _Log | None, examples: int) -> Change:
    (first, before), (second, after) = old, new
    moved = transitions(before.judged, after.judged)
    both = {one.question for one in before.judged} & {one.question for one in after.judged}
    kinds = {one.question: (one.outcome, one.group or "") for one in after.judged}
    better = {*moved.mended, *moved.newly_abstains} - {*moved.broken}
    shown_better = _spread([one.question for one in before.judged if one.question in better], kinds, examples)
    worse = _spread(moved.newly_hallucinates, kinds, examples)
    note = None
    try:
        rows = before.rows({*shown_better, *worse}), after.rows({*shown_better, *worse})
        shown = [
            tuple(_example(rows[0][one], rows[1][one], log) for one in ids if one in rows[0] and one in rows[1])
            for ids in (shown_better, worse)
        ]
    except (PlumblineError, OSError, KeyError, TypeError, ValueError):
        shown, note = [(), ()], "The answers cannot be read: answers.jsonl is damaged."
    return Change(
        before=first.evaluation,
        after=second.evaluation,
        before_label=first.label,
        after_label=second.label,
        paired=len(both),
        unpaired=moved.unpaired,
        counts={str(was): {str(now): count for now, count in row.items()} for was, row in moved.counts.items()},
        mended=len(moved.mended),
        broken=len(moved.broken),
        newly_abstains=len(moved.newly_abstains),
        newly_hallucinates=len(moved.newly_hallucinates),
        better=len(better),
        p_correct=moved.p_correct,
        p_hallucinated=moved.p_hallucinated,
        differences=_differences(before.judged, after.judged),
        better_examples=shown[0],
        hallucinated_examples=shown[1],
        note=note,
    )


def _differences(before: Sequence[Judged], after: Sequence[Judged]) -> dict[str, Figure | None]:
    """Return by how much each figure grew, over the questions that both were asked."""
    new = {one.question: one for one in after}
    pairs = [(one, new[one.question]) for one in before if one.question in new]
    found: Mapping[str, Interval | None] = paired_bootstrap(
        figures([was for was, _ in pairs]), figures([now for _, now in pairs])
    )
    return {
        name: Figure(one.value, one.low, one.high) if (one := found[name]) is not None else None
        for name in _DIFFERENCES
    }


def _spread(ids: Sequence[str], kinds: Mapping[str, tuple[str, str]], most: int) -> list[str]:
    """Return some of these questions, of all outcomes and groups in turn, in the order in which they were asked."""
    by_kind: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in ids:
        by_kind[kinds[one]].append(one)
    turns = sorted((place, order, one) for order, own in enumerate(by_kind.values()) for place, one in enumerate(own))
    taken = {one for _, _, one in turns[:most]}
    return [one for one in ids if one in taken]


def _example(before: Mapping[str, Any], after: Mapping[str, Any], log: _Log | None) -> Example:
    return Example(
        id=after["id"],
        question=after["question"],
        group=after["group"],
        answerable=after["answerable"],
        accepted=tuple(after["answers"]),
        before=_given(before),
        after=_given(after),
        sampled=log.of(after["question"]) if log is not None else None,
    )


def _given(row: Mapping[str, Any]) -> Given:
    cited = set(row["citations"])
    passages = row["passages"]
    return Given(
        text=row["response"],
        outcome=row["outcome"],
        confidence=row["confidence"],
        cause=row["cause"],
        wrong_citations=tuple(row["wrong_citations"]),
        passages=None
        if passages is None
        else tuple(
            Passage(number, one["document"], one["title"], one["text"], number in cited)
            for number, one in enumerate(passages, 1)
        ),
    )
