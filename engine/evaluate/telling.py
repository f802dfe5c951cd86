"""What an evaluation tells while it runs: the figures over the answers so far, and the first answers themselves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from engine.evaluate import answer_rows
from engine.evaluate.answer_rows import Row, passages_read
from engine.evaluate.asking import Asked
from engine.evaluate.panel import calibration_figures
from engine.evaluate.respondent import grounding_of
from engine.evaluate.results import Pair, ratios
from engine.generate.grounding import Evidence, grounded_question
from engine.job.journal import Journal, Sample
from engine.spec.models import EvalSpec

# Points of a curve, at most.
_POINTS = 200
_OUTCOMES = ("correct", "abstained", "hallucinated")
_FIGURES = (
    *_OUTCOMES,
    "score",
    "over_refusal",
    "mc1",
    "mc2",
    "hit",
    "groundedness",
    "citation_recall",
    "citation_precision",
)


class Telling:
    """The facts of one attempt. A step is how many questions are answered.

    Arguments:
        asked: all questions.
        there: what earlier attempts have answered.
    """

    def __init__(self, journal: Journal, spec: EvalSpec, asked: Sequence[Asked], there: Sequence[Pair]) -> None:
        self._journal, self.total = journal, len(asked)
        self._grounding = grounding_of(spec)
        self._shown = {one.question.id for one in asked[: spec.examples]}
        self._pairs = list(there)
        self._told = len(self._pairs)
        self._tokens, self._began = 0, time.monotonic()

    def take(self, pairs: Sequence[Pair]) -> None:
        """Some more questions were answered."""
        self._pairs += pairs
        self._tokens += sum(row.tokens for _, row in pairs)
        step = len(self._pairs)
        for asked, row in pairs:
            if asked.question.id in self._shown:
                self._journal.sample(step, self._sample(asked, row))
        if step == self.total or (step - self._told) * _POINTS >= self.total:
            self._told = step
            self._journal.metrics(step, self._metrics())
        self._journal.flush()

    def _metrics(self) -> dict[str, float]:
        found = _values(self._pairs, _FIGURES)
        judged = [answer_rows.judged(*pair) for pair in self._pairs]
        calibration = calibration_figures(judged)
        for name, told in (("auroc", calibration["auroc"]), ("calibration_error", calibration["ece"])):
            if told is not None:
                found[name] = told
        groups: dict[str, list[Pair]] = {}
        for pair, one in zip(self._pairs, judged, strict=True):
            if one.group is not None:
                groups.setdefault(one.group, []).append(pair)
        for group, own in groups.items():
            found |= {f"{name}/{group}": value for name, value in _values(own, _OUTCOMES).items()}
        found["tokens_per_second"] = self._tokens / max(time.monotonic() - self._began, 1e-9)
        return found

    def _sample(self, asked: Asked, row: Row) -> Sample:
        read = [Evidence(one.text, one.title) for one in passages_read(asked, row)]
        prompt = grounded_question(asked.question.text, read, self._grounding)
        reference = " | ".join(asked.question.answers) or None
        scores = {outcome: float(row.outcome == outcome) for outcome in ("correct", "abstained", "hallucinated")}
        if row.confidence is not None:
            scores["confidence"] = row.confidence
        if row.grounding is not None and row.grounding.claims:
            scores["groundedness"] = row.grounding.grounded / row.grounding.claims
        return Sample(prompt if read else asked.question.text, row.response, reference, scores)


def _values(pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, float]:
    """Return the figures of these names that are defined."""
    found: Mapping[str, float | None] = {name: ratio.value for name, ratio in ratios(pairs).items() if name in names}
    return {name: value for name, value in found.items() if value is not None}
