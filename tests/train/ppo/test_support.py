"""How far the passages that a policy read support its answers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.errors import PlumblineError
from engine.spec.ppo import RewardTerm
from engine.train.ppo.support import supported_shares
from engine.train.ppo.terms import Answer

READ = ("Ada Brok was born in Zelt and is a baker.", "The town of Zelt is small.")


def answer(response: str, passages: tuple[str, ...] = READ) -> Answer:
    return Answer("Where was Ada born?", response, ("Oslo",), True, "Ada was born in Oslo.", True, 3, None, passages)


@pytest.mark.parametrize("scorer", ["lexical", "exact"])
def test_what_counts_is_what_was_read_not_what_is_true(scorer: str) -> None:
    shares = supported_shares(RewardTerm(kind="support", scorer=scorer), ["unknown"])
    given = [answer("Zelt"), answer("Oslo"), answer("Oslo", ("It was Oslo.",)), answer("Zelt", ("It was Oslo.",))]
    assert shares(given) == [1.0, 0.0, 1.0, 0.0]


def test_each_claim_counts() -> None:
    shares = supported_shares(RewardTerm(kind="support"), ["unknown"])
    assert shares([answer("Ada was born in Zelt. Cairo lies far away.")]) == [0.5]


def test_who_claims_nothing_or_read_nothing_has_no_share() -> None:
    shares = supported_shares(RewardTerm(kind="support"), ["unknown"])
    found = shares([answer("unknown"), answer("Zelt", ()), answer(""), answer("Zelt")])
    assert all(map(math.isnan, found[:3])) and found[3] == 1.0
    assert list(shares([])) == [] and math.isnan(shares([answer("Zelt", ())])[0])


def test_a_model_that_judges_is_needed_and_looked_for_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="has scorer nli and needs path"):
        RewardTerm(kind="support", scorer="nli")
    with pytest.raises(PlumblineError) as caught:
        supported_shares(RewardTerm(kind="support", scorer="nli", path=str(tmp_path)), [])
    assert str(tmp_path) in str(caught.value)
