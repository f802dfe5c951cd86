"""The model under evaluation: a fixed piece of questions in, a row for each out.

A row depends on the piece alone, not on who answers it or when: answers are the likeliest tokens of batches that are
always the same, and drawn ones follow seeds that the prompt decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.data.answers import abstains_only
from engine.data.templates import set_template
from engine.evaluate.answer_rows import Row, ScoredChoice, agreement, cause_of, passages_read, retrieved
from engine.evaluate.asking import Asked
from engine.evaluate.claims import judge_claims
from engine.evaluate.multiple_choice import mc1, mc2
from engine.evaluate.outcomes import Grading, Outcome, judge
from engine.generate.answering import Answered, Answerer, Writing
from engine.generate.choosing import Weighed, weigh_choices
from engine.generate.citations import without_citations
from engine.generate.grounding import Evidence, Grounding
from engine.generate.models import load_causal, load_tokenizer, require_model_folder
from engine.spec.evaluation import SupportSettings
from engine.spec.models import EvalSpec

if TYPE_CHECKING:
    from engine.evaluate.faithfulness.scorer import Scorer


class Respondent:
    """A loaded model, and what judges its answers.

    Raises:
        NotFound: if there is no model.
        InvalidInput: if model, tokenizer, template or the scorer's model cannot be loaded.
    """

    def __init__(self, spec: EvalSpec, device: str) -> None:
        folder = Path(spec.model.path)
        require_model_folder(folder)
        self._spec, settings = spec, spec.answers
        self._tokenizer = load_tokenizer(folder)
        set_template(self._tokenizer, spec.model.template)
        self._network = load_causal(folder, self._tokenizer, precision=spec.model.precision, device=device)
        self._answerer = Answerer(self._network, self._tokenizer, folder)
        self._grading = grading_of(spec)
        self._grounding = grounding_of(spec)
        self._writing = Writing(
            max_response_length=settings.max_response_length,
            samples=settings.samples,
            temperature=settings.temperature,
            seed=spec.seed,
            batch_size=settings.batch_size,
            abstentions=self._grading.abstentions,
        )
        needed = spec.passages != "none" and spec.format == "open"
        self.scorer = load_scorer(spec.support, device) if needed else None

    def rows(self, piece: Sequence[Asked]) -> list[Row]:
        """Return a row for each question of a piece.

        Raises:
            InvalidInput: if a question does not fit into the model.
            RunFailed: if the model does not compute numbers.
        """
        return self._chosen(piece) if self._spec.format == "multiple_choice" else self._written(piece)

    def _written(self, piece: Sequence[Asked]) -> list[Row]:
        from engine.evaluate.faithfulness.support import weakest_support

        checks = self.scorer is not None and self._spec.answers.min_support is not None
        assert self.scorer is not None or not checks
        answered = self._answerer.answer(
            [one.question.text for one in piece],
            _evidence(piece),
            self._writing,
            grounding=self._grounding,
            check=weakest_support(self.scorer, self._grading.abstentions) if self.scorer and checks else None,
            min_support=self._spec.answers.min_support,
            places=[one.question.place for one in piece],
        )
        rows = [self._row(asked, answer) for asked, answer in zip(piece, answered, strict=True)]
        if self.scorer is not None:
            rows = judge_claims(piece, rows, self.scorer, self._grading.abstentions)
        return [_with_cause(asked, row) for asked, row in zip(piece, rows, strict=True)]

    def _row(self, asked: Asked, answer: Answered) -> Row:
        # Where there is something to cite, marks of citations are no part of what an answer says.
        said, *drawn = (
            text if asked.passages is None else without_citations(text) for text in (answer.text, *answer.samples)
        )
        probabilities = {
            "probability": answer.probability,
            "per_token": math.exp(answer.log_prob),
            "agreement": agreement(said, drawn, self._grading.abstentions),
        }
        confidence = probabilities[self._spec.grading.confidence]
        return Row(
            response=answer.text,
            outcome=judge(asked.question, said, self._grading, confidence).outcome,
            confidence=_rounded(confidence),
            probability=_rounded(answer.probability) or 0.0,
            per_token=_rounded(math.exp(answer.log_prob)) or 0.0,
            tokens=answer.tokens,
            ended=answer.ended,
            agreement=probabilities["agreement"],
            samples=answer.samples,
            withheld=answer.withheld,
            read=answer.passages if asked.passages is not None else None,
            citations=answer.citations,
            wrong_citations=answer.wrong_citations,
        )

    def _chosen(self, piece: Sequence[Asked]) -> list[Row]:
        weighed = weigh_choices(
            self._network,
            self._tokenizer,
            [one.question.text for one in piece],
            _evidence(piece),
            [one.choices.texts if one.choices is not None else () for one in piece],
            grounding=self._grounding,
            batch_size=self._spec.answers.batch_size,
            places=[one.question.place for one in piece],
        )
        rows = [self._choice_row(asked, one) for asked, one in zip(piece, weighed, strict=True)]
        return [_with_cause(asked, row) for asked, row in zip(piece, rows, strict=True)]

    def _choice_row(self, asked: Asked, weighed: Weighed) -> Row:
        choices = asked.choices
        assert choices is not None
        told = dict(zip(choices.texts, weighed.log_probs, strict=True))
        likeliest = max(told, key=told.__getitem__)
        scaled = np.exp(np.subtract(weighed.log_probs, told[likeliest]))
        tokens = weighed.tokens[choices.texts.index(likeliest)]
        share, per_token = float(1 / scaled.sum()), math.exp(told[likeliest] / tokens)
        confidence = per_token if self._spec.grading.confidence == "per_token" else share
        return Row(
            response=likeliest,
            outcome=self._choice_outcome(asked, told, likeliest, confidence),
            confidence=_rounded(confidence),
            probability=_rounded(share) or 0.0,
            per_token=_rounded(per_token) or 0.0,
            tokens=tokens,
            read=weighed.passages if asked.passages is not None else None,
            choices=tuple(ScoredChoice(text, choices.is_right(text), _rounded(told[text]) or 0.0) for text in told),
            mc1=mc1(told[choices.best], [told[text] for text in choices.wrong_beside_best]),
            mc2=_rounded(mc2([told[text] for text in choices.right], [told[text] for text in choices.wrong])),
        )

    def _choice_outcome(self, asked: Asked, told: dict[str, float], likeliest: str, confidence: float) -> Outcome:
        """Return correct if a right choice is likelier than every wrong one; a tie is a miss, as in MC1."""
        choices, below = asked.choices, self._grading.abstain_below
        assert choices is not None
        if below is not None and confidence < below:
            return "abstained"
        tied = [text for text, value in told.items() if value == told[likeliest]]
        if all(choices.is_right(text) for text in tied):
            return "correct"
        return "abstained" if abstains_only(likeliest, self._grading.abstentions) else "hallucinated"


def grading_of(spec: EvalSpec) -> Grading:
    """Return how the answers of an evaluation are judged."""
    return Grading(spec.grading.abstentions, spec.grading.f1_from, spec.grading.abstain_below)


def grounding_of(spec: EvalSpec) -> Grounding:
    """Return how passages stand in the prompts of an evaluation."""
    return Grounding(
        style=spec.answers.style,
        abstention=spec.grading.abstentions[0],
        template=Path(spec.answers.prompt) if spec.answers.prompt is not None else None,
    )


def load_scorer(settings: SupportSettings, device: str) -> Scorer:
    """Return what tells whether passages support claims."""
    from engine.evaluate.faithfulness.naming import scorer_from

    name = settings.scorer if settings.path is None else f"{settings.scorer}:{settings.path}"
    return scorer_from(name, threshold=settings.threshold, device=device)


def _evidence(piece: Sequence[Asked]) -> list[tuple[Evidence, ...]] | None:
    if all(one.passages is None for one in piece):
        return None
    return [tuple(Evidence(given.text, given.title, given.chunk) for given in one.passages or ()) for one in piece]


def _with_cause(asked: Asked, row: Row) -> Row:
    hit, recall = retrieved(asked, passages_read(asked, row))
    cause = cause_of(
        row.outcome,
        answerable=asked.question.answerable,
        closed_book=asked.passages is None,
        hit=hit,
        claims=row.claims,
    )
    return replace(row, hit=hit, recall=recall, cause=cause)


def _rounded(value: float | None) -> float | None:
    """Return a number as it is kept: eight digits, below which machines differ."""
    return None if value is None else float(f"{value:.8g}")
