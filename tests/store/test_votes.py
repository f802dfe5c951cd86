"""Votes on pairs of answers."""

from __future__ import annotations

import pytest

from engine.errors import NotFound
from engine.store import bookkeeping, votes
from engine.store.database import Store
from engine.store.votes import Tally
from tests.store.conftest import create, end


def test_a_pair_is_the_same_from_both_sides_and_a_later_vote_takes_the_place_of_the_first(store: Store) -> None:
    one, other = (create(store), 200), (create(store), 40)
    votes.vote(store, "p", one, other, one, blind=False)
    votes.vote(store, "p", other, one, other, blind=True)
    votes.vote(store, "q", other, one, None, blind=True)
    votes.vote(store, "r", one, other, one, blind=False)
    assert votes.tally(store, one, other) == Tally(one=1, tie=1, other=1, blind=2)
    assert votes.tally(store, other, one) == Tally(one=1, tie=1, other=1, blind=2)
    assert votes.votes(store, other, one) == {
        votes.digest("p"): other,
        votes.digest("q"): None,
        votes.digest("r"): one,
    }
    votes.take_back(store, "r", other, one)
    assert votes.tally(store, one, other) == Tally(one=0, tie=1, other=1, blind=2)
    assert votes.tally(store, one, (other[0], 41)) == Tally()


def test_checkpoints_of_one_run_are_a_pair_too(store: Store) -> None:
    run = create(store)
    votes.vote(store, "p", (run, 20), (run, 10), (run, 10), blind=False)
    assert votes.tally(store, (run, 10), (run, 20)) == Tally(one=1)


def test_votes_go_with_their_experiment_and_need_one(store: Store) -> None:
    one, other = (create(store), 1), (create(store), 1)
    votes.vote(store, "p", one, other, None, blind=False)
    with pytest.raises(NotFound):
        votes.vote(store, "p", one, ("ppo-0404", 1), None, blind=False)
    with pytest.raises(ValueError, match="is none of"):
        votes.vote(store, "p", one, other, ("sft-0009", 1), blind=False)
    end(store, other[0])
    bookkeeping.delete(store, other[0])
    assert votes.tally(store, one, other) == Tally()
