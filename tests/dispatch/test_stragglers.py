"""Which rank holds the others of its run up."""

from __future__ import annotations

from engine.dispatch.stragglers import stragglers

FINE = {"state": "S", "step": 100, "ago": 0.8}


def test_ranks_that_wait_for_each_other_do_not_straggle() -> None:
    assert stragglers({}) == {}
    assert (
        stragglers({0: FINE, 1: {**FINE, "step": 101, "ago": 9.0}, 2: {"state": "S", "step": None, "ago": None}}) == {}
    )
    assert stragglers({0: {**FINE, "ago": 300.0}}) == {}  # alone, it holds up nobody


def test_a_rank_that_is_stopped_behind_or_silent_is_named_with_the_reason() -> None:
    ranks = {rank: FINE for rank in range(8)}
    found = stragglers(
        ranks
        | {2: {**FINE, "state": "T"}, 3: {**FINE, "step": 97}, 4: {**FINE, "ago": 40.0}, 5: {**FINE, "state": "D"}}
        | {6: {**FINE, "state": "D", "ago": 30.0}}
    )
    assert found == {
        2: "its process is stopped",
        3: "3 steps behind the others",
        4: "40 s without a mark, the others 1 s",
        6: "its process waits for a disk or a network file system",
    }
