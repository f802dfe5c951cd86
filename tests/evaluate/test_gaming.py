"""No single figure suffices: each cheat looks honest in some column, and is caught in another.

A closed world of 2000 questions, a fifth without answer, the gold passage found for four fifths of the others. Each
policy answers them all; the values are those that the shares of the world make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import pytest

from engine.evaluate.grounded import JOINT, Cited, Claim, Grounding, ground, grounding_figures
from engine.evaluate.intervals import paired_bootstrap
from engine.evaluate.judgements import Question
from engine.evaluate.outcomes import Grading, Judged, Stated, claims_outcome, judge
from engine.evaluate.panel import figures
from engine.evaluate.transitions import transitions

GRADING = Grading(("i don't know",))
QUESTIONS = 2000


@dataclass(frozen=True)
class Asked:
    """A question, and what a search found for it."""

    number: int
    answerable: bool
    passages: tuple[str, ...]  # each states one true fact
    hit: int  # the number of the gold passage, from 1; 0: it was not found

    @property
    def gold(self) -> str:
        """The true answer, also where no passage of the corpus states it."""
        return f"s{self.number} r o{self.number}"

    @property
    def lie(self) -> str:
        return f"s{self.number} r o{self.number + 1}"


Policy = Callable[[Asked, Random], tuple[str, list[Claim]]]


@cache
def world() -> list[Asked]:
    draw = Random(0)
    asked = []
    for number in range(QUESTIONS):
        answerable = draw.random() < 0.8
        others = draw.sample(range(QUESTIONS, 2 * QUESTIONS), 4)
        passages = [f"s{other} r o{other}" for other in others]
        hit = draw.randint(1, 4) if answerable and draw.random() < 0.8 else 0
        if hit:
            passages[hit - 1] = f"s{number} r o{number}"
        asked.append(Asked(number, answerable, tuple(passages), hit))
    return asked


def says(*claims: tuple[str, tuple[int, ...]]) -> tuple[str, list[Claim]]:
    """Return an answer: its text is the object of its first claim."""
    return claims[0][0].split()[-1], [Claim(text, cited) for text, cited in claims]


def reads_or(read: float, known: float, guessed: float) -> Policy:
    """Return a policy that reads a gold passage at times; else it knows the answer, guesses, or abstains."""

    def policy(asked: Asked, draw: Random) -> tuple[str, list[Claim]]:
        if asked.hit and draw.random() < read:
            return says((asked.gold, (asked.hit,)))
        luck = draw.random()
        if asked.answerable and luck < known:
            return says((asked.gold, (1,)))
        return says((asked.lie, (1,))) if luck < known + guessed else ("I don't know.", [])

    return policy


POLICIES: dict[str, Policy] = {
    "base guesser": reads_or(read=0.923, known=0.35, guessed=0.65),
    "calibrated": reads_or(read=0.955, known=0.05, guessed=0.08),
    "oracle": reads_or(read=1, known=0, guessed=0),
    "always abstain": lambda asked, draw: ("I don't know.", []),
    "copy passage 1": lambda asked, draw: says((asked.passages[0], (1,))),
    "cite everything": lambda asked, draw: says((asked.gold if asked.hit else asked.lie, (1, 2, 3, 4))),
    "true but uncited": lambda asked, draw: says((asked.gold, ())),
    "right + padding lies": lambda asked, draw: says((asked.gold, (asked.hit or 1,)), (asked.lie, ())),
    "I don't know, but": lambda asked, draw: (f"I don't know, but {asked.lie.split()[-1]}", says((asked.lie, (1,)))[1]),
}

# truth, hallucinated, over-refusal, groundedness, claim precision, citation recall, citation precision.
COLUMNS = ("score", "hallucinated", "over_refusal", "groundedness", "claim_precision")
COLUMNS += ("citation_recall", "citation_precision")
TABLE: dict[str, tuple[float | None, ...]] = {
    "base guesser": (0.325, 0.338, 0.0, 0.589, 0.662, 0.589, 0.589),
    "calibrated": (0.579, 0.039, 0.214, 0.927, 0.941, 0.927, 0.927),
    "oracle": (0.638, 0.0, 0.201, 1.0, 1.0, 1.0, 1.0),
    "always abstain": (0.0, 0.0, 1.0, None, None, None, None),
    "copy passage 1": (-0.687, 0.844, 0.0, 1.0, 1.0, 1.0, 1.0),
    "cite everything": (0.276, 0.362, 0.0, 0.638, 0.638, 0.638, 0.160),
    "true but uncited": (0.597, 0.202, 0.0, 0.638, 1.0, 0.0, None),
    "right + padding lies": (-1.0, 1.0, 0.0, 0.319, 0.5, 0.319, 0.638),
    "I don't know, but": (-1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0),
}


def supports(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    assert len(set(pairs)) == len(pairs)
    return [claim in evidence.split(JOINT) for evidence, claim in pairs]


def true(claim: str) -> bool:
    subject, _, value = claim.split()
    return subject[1:] == value[1:]


@dataclass(frozen=True)
class Played:
    judged: list[Judged]
    groundings: list[Grounding]
    values: dict[str, float | None]


def play(policy: Policy) -> Played:
    draw, judged, answers = Random(1), [], []
    for asked in world():
        text, claims = policy(asked, draw)
        claims = [Claim(claim.text, claim.cited, true(claim.text)) for claim in claims]
        answers.append(Cited(tuple(claims), asked.passages))
        stated = [Stated(claim.text.startswith(f"s{asked.number} "), claim.true) for claim in claims]
        begins = text.lower().startswith(GRADING.abstentions)
        outcome = claims_outcome(stated, answerable=asked.answerable, abstains=begins)
        judged.append(Judged(str(asked.number), outcome, asked.answerable))
        # What one claim is, its text alone tells as well.
        if len(claims) < 2 and asked.number < 300:
            answer = (asked.gold.split()[-1],) if asked.answerable else ()
            question = Question(str(asked.number), "?", answer, asked.answerable)
            assert judge(question, text, GRADING) == judged[-1]
    groundings = ground(answers, supports)
    found = figures(judged) | grounding_figures(groundings)
    return Played(judged, groundings, {name: ratio.value for name, ratio in found.items()})


@pytest.fixture(scope="module")
def played() -> dict[str, Played]:
    return {name: play(policy) for name, policy in POLICIES.items()}


@pytest.mark.parametrize("name", list(POLICIES))
def test_a_policy_has_the_figures_that_its_world_makes(played: dict[str, Played], name: str) -> None:
    ours = tuple(played[name].values[column] for column in COLUMNS)
    assert [value is None for value in ours] == [value is None for value in TABLE[name]]
    for column, value, golden in zip(COLUMNS, ours, TABLE[name], strict=True):
        assert value == (None if golden is None else pytest.approx(golden, abs=0.03)), column


EVERY_CITATION = ("groundedness", "claim_precision", "citation_recall", "citation_precision")
# The cheat, where it is as good as an oracle or better, the figure that catches it, and by how much.
CAUGHT = [
    ("always abstain", ("hallucinated",), "over_refusal", 0.8),
    ("copy passage 1", ("over_refusal", *EVERY_CITATION), "score", -1.3),
    ("cite everything", ("over_refusal",), "citation_precision", -0.8),
    ("true but uncited", ("over_refusal", "claim_precision"), "citation_recall", -1.0),
    ("right + padding lies", ("over_refusal",), "score", -1.6),
    ("I don't know, but", ("over_refusal",), "score", -1.6),
]


@pytest.mark.parametrize(("cheat", "fooled", "caught", "by"), CAUGHT)
def test_a_cheat_that_looks_honest_is_caught(
    played: dict[str, Played], cheat: str, fooled: tuple[str, ...], caught: str, by: float
) -> None:
    cheats, honest = played[cheat].values, played["oracle"].values
    for column in fooled:
        theirs, ours = cheats[column], honest[column]
        assert theirs is not None and ours is not None
        assert theirs <= ours if column in ("hallucinated", "over_refusal") else theirs >= ours, column
    value, golden = cheats[caught], honest[caught]
    assert value is not None and golden is not None
    assert value - golden == pytest.approx(by, abs=0.05)


def test_truthfulness_and_over_refusal_together_let_honest_policies_through(played: dict[str, Played]) -> None:
    def passes(values: dict[str, float | None]) -> bool:
        score, over_refusal = values["score"], values["over_refusal"]
        return score is not None and score > 0.3 and over_refusal is not None and over_refusal < 0.5

    through = {name for name, one in played.items() if passes(one.values)}
    assert through == {"base guesser", "calibrated", "oracle", "true but uncited"}
    order = sorted(played, key=lambda name: played[name].values["score"] or 0.0, reverse=True)
    assert order[:5] == ["oracle", "true but uncited", "calibrated", "base guesser", "cite everything"]
    assert order[5:7] == ["always abstain", "copy passage 1"]


def test_where_each_claim_came_from_is_told(played: dict[str, Played]) -> None:
    def share(name: str, kind: str) -> float | None:
        return played[name].values[kind]

    assert share("oracle", "true_grounded") == 1.0
    assert share("true but uncited", "true_ungrounded") == pytest.approx(1 - 0.638, abs=0.03)
    assert share("I don't know, but", "false_ungrounded") == 1.0
    assert share("always abstain", "responds") == 0.0 and share("right + padding lies", "claims_per_answer") == 2.0


def test_the_difference_of_honest_policies_is_beyond_chance(played: dict[str, Played]) -> None:
    base, calibrated = played["base guesser"], played["calibrated"]
    grown = paired_bootstrap(figures(base.judged), figures(calibrated.judged), resamples=400)
    assert grown["score"] is not None and grown["score"].low > 0.2
    assert grown["hallucinated"] is not None and grown["hallucinated"].high < -0.25
    changed = transitions(base.judged, calibrated.judged)
    assert changed.p_hallucinated < 1e-6 and len(changed.newly_abstains) > 500 and not changed.unpaired
