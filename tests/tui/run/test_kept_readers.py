"""Who goes back to a run does not wait for its points again, and one that is left is read no further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine.store import point_arrays
from tests.tui.world import World
from tui.run.facts import RunReader
from tui.run.kept_readers import KeptReaders


def test_the_runs_that_were_shown_last_are_kept(world: World) -> None:
    kept, ids = KeptReaders(), [world.add(f"run_{number}") for number in range(5)]
    first = kept.of(world.store, ids[0])
    second = kept.of(world.store, ids[1])
    assert kept.of(world.store, ids[0]) is first and first.is_wanted and not second.is_wanted
    for identity in ids[2:4]:
        kept.of(world.store, identity)
    assert kept.of(world.store, ids[0]) is first and kept.of(world.store, ids[1]) is not second
    kept.forget()
    assert kept.of(world.store, ids[0]) is not first


def test_a_read_that_is_wanted_no_more_leaves_the_rest_to_a_later_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 31), lr=1e-3, grad_norm=1.0)
    reader, fresh, names = RunReader(world.store, identity), point_arrays.fresh, list[str]()

    def left_in_the_middle(*arguments: Any) -> Iterator[tuple[str, point_arrays.PointArrays]]:
        for name, points in fresh(*arguments):
            names.append(name)
            reader.is_wanted = len(names) != 1
            yield name, points

    monkeypatch.setattr(point_arrays, "fresh", left_in_the_middle)
    assert len(reader.read().curves.series) == 1 and len(names) == 1
    reader.is_wanted = True
    whole, once = reader.read().curves.series, RunReader(world.store, identity).read().curves.series
    assert len(names) == len(set(names[: len(once)])) + len(once), "none was read twice"
    for name, curve in once.items():
        np.testing.assert_array_equal(whole[name].value, curve.value)
