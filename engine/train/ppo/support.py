"""What the passages that a policy read support of its answers: a term of the reward, and a metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from engine.spec.ppo import RewardTerm
from engine.train.ppo.terms import Answer

# For each answer the share of its claims that a passage supports; NaN where there is no passage, or no claim.
Shares = Callable[[Sequence[Answer]], Sequence[float]]


def supported_shares(term: RewardTerm, abstentions: Sequence[str]) -> Shares:
    """Return what judges answers by the passages that the policy read.

    Arguments:
        term: of kind support; a model of it is loaded at once.
        abstentions: an answer that begins with one of these claims nothing.

    Raises:
        InvalidInput: there is no model that judges in the term's folder.
    """
    # The model of a scorer may be large: it is loaded where a term asks for it.
    from engine.evaluate.faithfulness.naming import scorer_from
    from engine.evaluate.faithfulness.support import support

    scorer = scorer_from(f"nli:{term.path}" if term.scorer == "nli" else term.scorer)
    phrases = tuple(abstentions)

    def shares(answers: Sequence[Answer]) -> list[float]:
        found = [math.nan] * len(answers)
        read = [number for number, answer in enumerate(answers) if answer.passages]
        supports = support(
            [answers[number].response for number in read],
            [answers[number].passages for number in read],
            scorer,
            questions=[answers[number].prompt for number in read],
            abstentions=phrases,
        )
        for number, one in zip(read, supports, strict=True):
            if one.groundedness is not None:
                found[number] = one.groundedness
        return found

    return shares
