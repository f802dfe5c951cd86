"""Ranks that take no step any more are found and named, and slow ones are not."""

from __future__ import annotations

from typing import Any

from engine.dispatch.stalls import FEWEST_SECONDS, StallWatch


def mark(step: int, ago: float, state: str = "S", phase: str = "forward_backward") -> dict[str, Any]:
    return {"step": step, "phase": phase, "ago": ago, "state": state, "pid": 1, "slot": 0}


def watch_of(step_seconds: float) -> StallWatch:
    """A run of two ranks on two nodes whose steps take so long."""
    found = StallWatch(factor=20.0)
    for step in range(1, 11):
        for node in (0, 1):
            found.hear(node, {str(node): mark(step, 0.0)}, step * step_seconds)
    return found


def test_a_rank_without_a_step_for_many_median_steps_has_stalled() -> None:
    watch = watch_of(10.0)
    watch.hear(0, {"0": mark(10, 199.0)}, 300.0)
    watch.hear(1, {"1": mark(10, 150.0)}, 300.0)
    assert watch.stalled(300.0) is None
    found = watch.stalled(302.0)
    assert found is not None and (found.rank, found.node, found.step) == (0, 0, 10)


def test_nothing_shorter_than_a_minute_is_a_stall_however_fast_the_steps_are() -> None:
    watch = watch_of(0.01)
    for node in (0, 1):
        watch.hear(node, {str(node): mark(10, FEWEST_SECONDS - 1)}, 100.0)
    assert watch.stalled(100.0) is None
    assert watch.stalled(102.0) is not None


def test_of_ranks_that_wait_for_each_other_the_stopped_one_is_named_or_the_one_that_stood_still_first() -> None:
    watch = watch_of(0.1)
    watch.hear(0, {"0": mark(10, 90.0)}, 100.0)
    watch.hear(1, {"1": mark(10, 89.0, "T")}, 100.0)
    found = watch.stalled(100.0)
    assert found is not None and found.rank == 1
    told = found.sentence("node-2", "step 10/100  loss 2.1")
    assert told == (
        "rank 1 (node-2) has not got on for 89 s at step 10 (forward backward), its process is stopped;"
        " its last line: step 10/100  loss 2.1"
    )
    watch.hear(1, {"1": mark(10, 89.0)}, 100.0)
    found = watch.stalled(100.0)
    assert found is not None and found.rank == 0


def test_checkpoints_and_evaluations_may_take_longer() -> None:
    watch = watch_of(0.1)
    for node in (0, 1):
        watch.hear(node, {str(node): mark(10, 300.0, phase="checkpoint")}, 400.0)
    assert watch.stalled(400.0) is None


def test_a_silent_node_is_no_stalled_rank() -> None:
    watch = watch_of(0.1)
    watch.forget(0)
    watch.forget(1)
    assert watch.stalled(1e6) is None
