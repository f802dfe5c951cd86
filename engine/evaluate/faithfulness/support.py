"""What supports the claims of whole answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.data.answers import abstains_only
from engine.evaluate.faithfulness.scorer import Pair, Scorer
from engine.evaluate.grounded import Supports
from engine.generate.answering import Check
from engine.generate.citations import Statement, statements


@dataclass(frozen=True, slots=True)
class ClaimScore:
    """A claim, and how well it is supported."""

    text: str
    cited: tuple[int, ...]
    score: float
    supported: bool


@dataclass(frozen=True, slots=True)
class Support:
    """The claims of an answer."""

    claims: tuple[ClaimScore, ...]

    @property
    def groundedness(self) -> float | None:
        """The share of claims that are supported; None, not 1, if there are none."""
        return None if not self.claims else 1 - self.unsupported / len(self.claims)

    @property
    def unsupported(self) -> int:
        """How many claims are not supported."""
        return sum(not claim.supported for claim in self.claims)

    @property
    def weakest(self) -> float | None:
        """The least score of a claim; None if there are none."""
        return min((claim.score for claim in self.claims), default=None)


def claims_of(answer: str, abstentions: Sequence[str] = ()) -> list[Statement]:
    """Return what an answer states, a sentence each, without citations.

    A sentence that abstains and leaves it at that claims nothing, nor does an answer of which that is true.

    abstentions: what begins an abstention.
    """
    if abstains_only(answer, abstentions):
        return []
    return [one for one in statements(answer) if not abstains_only(one.text, abstentions)]


def support(
    answers: Sequence[str],
    passages: Sequence[Sequence[str]],
    scorer: Scorer,
    *,
    questions: Sequence[str] | None = None,
    abstentions: Sequence[str] = (),
) -> list[Support]:
    """Return how the passages of each answer support its claims. The scorer is called once, with all of them.

    Each passage stands for itself; join passages that are to support a claim together. What a claim cites plays no part
    here (`engine.evaluate.grounded` judges citations).

    Arguments:
        questions: that the answers answer, for scorers that read language.
        abstentions: what begins an abstention.
    """
    questions = questions or [""] * len(answers)
    claims = [claims_of(answer, abstentions) for answer in answers]
    pairs = [
        Pair(tuple(given), claim.text, question)
        for own, given, question in zip(claims, passages, questions, strict=True)
        for claim in own
    ]
    scores = iter(scorer.score(pairs) if pairs else ())
    return [Support(tuple(_scored(claim, next(scores), scorer) for claim in own)) for own in claims]


def _scored(claim: Statement, score: float, scorer: Scorer) -> ClaimScore:
    return ClaimScore(claim.text, claim.cited, score, score >= scorer.threshold)


def weakest_support(scorer: Scorer, abstentions: Sequence[str]) -> Check:
    """Return the check of answers, before they are given, by their least supported claim."""

    def check(
        answers: Sequence[str], passages: Sequence[Sequence[str]], questions: Sequence[str]
    ) -> list[float | None]:
        found = support(answers, passages, scorer, questions=questions, abstentions=abstentions)
        return [one.weakest for one in found]

    return check


def supports(scorer: Scorer) -> Supports:
    """Return the scorer as what judges groundedness and citations (`engine.evaluate.grounded`)."""

    def holds(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        scores = scorer.score([Pair((evidence,), claim) for evidence, claim in pairs])
        return [score >= scorer.threshold for score in scores]

    return holds
