"""Whether answers stay with their passages: what these support of the claims, and whether the citations are right.

What supports what is asked of a function: a closed world, a scorer of text, a judge. It is called once, with all pairs
of evidence and claim that are needed, each once, so that a model can take them in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.evaluate.intervals import Ratio, mean_of

# Whether each (evidence, claim) holds; evidence is one passage, or several joined by JOINT.
Supports = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]
JOINT = "\n"


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that an answer says, without its citation marks."""

    text: str
    cited: tuple[int, ...] = ()  # numbers of passages, from 1, as the answer has them; some may not exist
    true: bool | None = None  # None: not known, or no closed world


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer as its claims, and the passages that it was given."""

    claims: tuple[Claim, ...]  # empty: it abstains, or says nothing
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grounding:
    """Counts of one answer."""

    claims: int
    grounded: int  # claims that a passage supports, or those it cites do together
    true_grounded: int
    true_ungrounded: int  # from memory
    false_grounded: int  # from a bad passage
    false_ungrounded: int  # made up
    recalled: int  # claims that what they cite supports
    citations: int
    precise: int  # citations that are needed, or support their claim alone


def ground(answers: Sequence[Cited], supports: Supports) -> list[Grounding]:
    """Return the counts of each answer.

    Citations as ALCE judges them (Gao et al. 2023, section 4): a claim has recall if all it cites, together, supports
    it; one that cites nothing, or a passage that does not exist, has not. A citation is precise if its claim has recall
    and the passage supports it alone, or the others do not without it. A passage cited twice for a claim counts once.
    """
    needed = dict.fromkeys(pair for answer in answers for claim in answer.claims for pair in _pairs(claim, answer))
    pairs = list(needed)
    told = dict(zip(pairs, supports(pairs), strict=True)) if pairs else {}
    return [_count(answer, lambda pair: told[pair]) for answer in answers]


def _pairs(claim: Claim, answer: Cited) -> list[tuple[str, str]]:
    """Return what must be known to judge a claim."""
    evidence = list(answer.passages)
    cited = _existing(claim, answer)
    if cited:
        evidence.append(_joint(answer, cited))
        evidence += [_joint(answer, _without(cited, one)) for one in cited if len(cited) > 1]
    return [(text, claim.text) for text in evidence]


def _existing(claim: Claim, answer: Cited) -> tuple[int, ...]:
    """Return the passages that a claim cites, each once; none if one of them does not exist."""
    cited = tuple(dict.fromkeys(claim.cited))
    return cited if all(1 <= number <= len(answer.passages) for number in cited) else ()


def _without(cited: Sequence[int], left_out: int) -> list[int]:
    return [number for number in cited if number != left_out]


def _joint(answer: Cited, cited: Sequence[int]) -> str:
    return JOINT.join(answer.passages[number - 1] for number in cited)


def _count(answer: Cited, holds: Callable[[tuple[str, str]], bool]) -> Grounding:
    truths: list[tuple[bool | None, bool]] = []
    recalled = citations = precise = 0
    for claim in answer.claims:
        cited = _existing(claim, answer)
        together = bool(cited) and holds((_joint(answer, cited), claim.text))
        alone = {number: holds((answer.passages[number - 1], claim.text)) for number in cited}
        citations += len(set(claim.cited))
        if together:
            recalled += 1
            precise += sum(alone[one] or not holds((_joint(answer, _without(cited, one)), claim.text)) for one in cited)
        truths.append((claim.true, together or any(holds((passage, claim.text)) for passage in answer.passages)))
    return Grounding(
        claims=len(answer.claims),
        grounded=sum(grounded for _, grounded in truths),
        true_grounded=truths.count((True, True)),
        true_ungrounded=truths.count((True, False)),
        false_grounded=truths.count((False, True)),
        false_ungrounded=truths.count((False, False)),
        recalled=recalled,
        citations=citations,
        precise=precise,
    )


def grounding_figures(groundings: Sequence[Grounding]) -> dict[str, Ratio]:
    """Return the figures of answers; undefined, not 1, where there is no claim or citation to judge.

    | figure | what it is |
    |---|---|
    | groundedness | grounded, of all claims |
    | claim_precision | true, of the claims that are known to be true or false (FActScore; Min et al. 2023) |
    | claims_per_answer, responds | claims an answer; share of the answers that claim something |
    | citation_recall, citation_precision | recalled, of all claims; precise, of all citations |
    | true_grounded, true_ungrounded, false_grounded, false_ungrounded | shares of the claims that are known |
    """

    def counts(name: str) -> list[int]:
        return [getattr(one, name) for one in groundings]

    claims, kinds = counts("claims"), ("true_grounded", "true_ungrounded", "false_grounded", "false_ungrounded")
    known = [sum(getattr(one, kind) for kind in kinds) for one in groundings]
    true = [one.true_grounded + one.true_ungrounded for one in groundings]
    return {
        "groundedness": Ratio.of(counts("grounded"), claims),
        "claim_precision": Ratio.of(true, known),
        "claims_per_answer": mean_of(claims),
        "responds": mean_of([number > 0 for number in claims]),
        "citation_recall": Ratio.of(counts("recalled"), claims),
        "citation_precision": Ratio.of(counts("precise"), counts("citations")),
        **{kind: Ratio.of(counts(kind), known) for kind in kinds},
    }
