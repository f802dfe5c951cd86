"""Which experiments a filter leaves."""

from __future__ import annotations

import pytest

from engine.store import experiments
from engine.telemetry.states import State
from tests.tui.world import World
from tui.filtering import select


@pytest.fixture
def three(world: World) -> list[experiments.Experiment]:
    world.add("baseline", tags=("base",))
    running = world.add("Wide", tags=("sweep", "base"))
    world.add("narrow", tags=("sweep",))
    world.begin(running)
    return experiments.list_experiments(world.store)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", {"baseline", "Wide", "narrow"}),
        ("wide", {"Wide"}),
        ("SFT-0001", {"baseline"}),
        ("sweep", {"Wide", "narrow"}),
        ("sweep queued", {"narrow"}),
        ("tag:base", {"baseline", "Wide"}),
        ("name:base", {"baseline"}),
        ("state:run", {"Wide"}),
        ("-tag:base", {"narrow"}),
        ("-state:queued -kind:rm", {"Wide"}),
        ("nothing-like-this", set()),
        ("a:b", set()),
        ("-", {"baseline", "Wide", "narrow"}),
    ],
)
def test_all_words_must_hold(three: list[experiments.Experiment], text: str, names: set[str]) -> None:
    assert {experiment.name for experiment in select(three, text)} == names


def test_order_stays(three: list[experiments.Experiment]) -> None:
    assert list(select(three, "sft")) == list(three)
    assert [experiment.state for experiment in select(three, "wide")] == [State.RUNNING]
