"""The claims of answers, held against the passages that were read: support of each, and counts for the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.evaluate.answer_rows import Row, ScoredClaim, passages_read
from engine.evaluate.asking import Asked
from engine.evaluate.faithfulness.scorer import Pair, Scorer
from engine.evaluate.faithfulness.support import claims_of
from engine.evaluate.grounded import JOINT, Cited, Claim, ground
from engine.generate.grounding import Evidence

_Evidence = tuple[str, str]  # what may support, and the claim


def judge_claims(piece: Sequence[Asked], rows: Sequence[Row], scorer: Scorer, abstentions: Sequence[str]) -> list[Row]:
    """Return the rows with their claims and groundedness. The scorer is called once, with each pair once a question.

    An answer that only abstains claims nothing.
    """
    answers = [
        Cited(
            tuple(Claim(one.text, one.cited) for one in claims_of(row.response, abstentions)),
            tuple(Evidence(given.text, given.title).premise for given in passages_read(asked, row)),
        )
        for asked, row in zip(piece, rows, strict=True)
    ]
    needed = [_needed(answer) for answer in answers]
    pairs = [
        Pair((evidence,), claim, asked.question.text)
        for asked, own in zip(piece, needed, strict=True)
        for evidence, claim in own
    ]
    scores = iter(scorer.score(pairs) if pairs else ())
    told = [{pair: next(scores) for pair in own} for own in needed]
    return [_with_claims(row, answer, own, scorer) for row, answer, own in zip(rows, answers, told, strict=True)]


def _needed(answer: Cited) -> list[_Evidence]:
    """Return what `ground` asks of an answer."""
    asked: list[_Evidence] = []

    def note(pairs: Sequence[_Evidence]) -> list[bool]:
        asked.extend(pairs)
        return [False] * len(pairs)

    ground([answer], note)
    return asked


def _with_claims(row: Row, answer: Cited, scores: dict[_Evidence, float], scorer: Scorer) -> Row:
    def holds(pairs: Sequence[_Evidence]) -> list[bool]:
        return [scores[pair] >= scorer.threshold for pair in pairs]

    (counts,) = ground([answer], holds)
    claims = []
    for claim in answer.claims:
        # What it cites may support it only together.
        evidence = {
            *answer.passages,
            JOINT.join(answer.passages[n - 1] for n in claim.cited if n <= len(answer.passages)),
        }
        score = max((scores[one, claim.text] for one in evidence if (one, claim.text) in scores), default=0.0)
        claims.append(ScoredClaim(claim.text, claim.cited, float(f"{score:.6g}"), score >= scorer.threshold))
    return replace(row, claims=tuple(claims), grounding=counts)
