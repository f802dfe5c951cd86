"""Citations are judged by ALCE's rules, with values worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.evaluate.grounded import JOINT, Cited, Claim, Grounding, ground, grounding_figures

PASSAGES = ("Zelt was born in Ono.", "Zelt is a baker.", "Bavi loves Rime.")


def holds_all_words(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """A claim is supported if the evidence has all its words."""
    return [set(claim.split()) <= set(evidence.replace(".", "").split()) for evidence, claim in pairs]


def counts(*claims: Claim) -> Grounding:
    return ground([Cited(claims, PASSAGES)], holds_all_words)[0]


@pytest.mark.parametrize(
    ("claim", "cited", "golden"),  # grounded, recalled, citations, precise
    [
        ("born in Ono", (1,), (1, 1, 1, 1)),
        ("born in Ono", (2,), (1, 0, 1, 0)),  # grounded, wrongly cited
        ("born in Ono", (), (1, 0, 0, 0)),
        ("born in Ono", (1, 3), (1, 1, 2, 1)),  # the second supports nothing, and is not needed
        ("Ono baker", (1, 2), (1, 1, 2, 2)),  # neither supports it alone, both are needed
        ("Ono baker", (1, 2, 3), (1, 1, 3, 2)),
        ("Zelt", (1, 2), (1, 1, 2, 2)),  # each supports it alone
        ("Ono baker", (1,), (0, 0, 1, 0)),  # no passage alone, nor what is cited
        ("born in Ono", (1, 4), (1, 0, 2, 0)),  # there is no passage 4: the claim is rejected, both citations count
        ("born in Ono", (0,), (1, 0, 1, 0)),
        ("born in Ono", (1, 1), (1, 1, 1, 1)),  # twice is once
        ("born in Sim", (1, 2, 3), (0, 0, 3, 0)),
    ],
)
def test_a_claim_has_alces_recall_and_precision(
    claim: str, cited: tuple[int, ...], golden: tuple[int, int, int, int]
) -> None:
    found = counts(Claim(claim, cited))
    assert (found.grounded, found.recalled, found.citations, found.precise) == golden


def test_figures_count_claims_and_are_undefined_without() -> None:
    answers = [
        Cited((Claim("born in Ono", (1,), True), Claim("born in Sim", (2,), False)), PASSAGES),
        Cited((Claim("a baker", (2, 3), True), Claim("Rime", (), False), Claim("Lute", (), None)), PASSAGES),
        Cited((), PASSAGES),
    ]
    values = {name: ratio.value for name, ratio in grounding_figures(ground(answers, holds_all_words)).items()}
    assert values == {
        "groundedness": 3 / 5,
        "claim_precision": 2 / 4,
        "claims_per_answer": 5 / 3,
        "responds": 2 / 3,
        "citation_recall": 2 / 5,
        "citation_precision": 2 / 4,
        "true_grounded": 2 / 4,
        "true_ungrounded": 0.0,
        "false_grounded": 1 / 4,
        "false_ungrounded": 1 / 4,
    }
    silent = grounding_figures(ground([Cited((), PASSAGES)], holds_all_words))
    assert silent["groundedness"].value is None and silent["citation_precision"].value is None
    assert silent["responds"].value == 0.0


def test_a_scorer_is_called_once_with_each_pair_once() -> None:
    calls: list[list[tuple[str, str]]] = []

    def scorer(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        calls.append(list(pairs))
        return holds_all_words(pairs)

    same = Cited((Claim("Ono baker", (1, 2)),), PASSAGES)
    ground([same, same], scorer)
    assert len(calls) == 1 and len(calls[0]) == len(set(calls[0])) == 4  # three passages, and two together
    assert (JOINT.join(PASSAGES[:2]), "Ono baker") in calls[0]
    assert ground([], scorer) == [] and ground([Cited((), ())], scorer)[0].claims == 0 and len(calls) == 1
