"""What charts get of a long run: few points of all of it, and all points of a part that is looked at closely."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from engine.store.point_arrays import fresh
from engine.telemetry.smoothing import smooth
from tests.tui.world import World
from tui.run.curves import Curves, XMode
from tui.run.facts import RunReader
from tui.run.tracks import Look, Tracks

STEPS = 20_000


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """A run of 20,000 steps, whose second attempt began at step 15,000."""
    world = World(tmp_path_factory.mktemp("long"))
    identity = world.add("long")
    world.begin(identity)
    noise = np.random.default_rng(0).normal(size=STEPS + 1)
    world.train(identity, range(1, 15_001), loss=lambda step: 2 + noise[step], grad_norm=1.0)
    from engine.store import experiments
    from engine.telemetry.states import State

    world.end(identity, State.LOST)
    experiments.resume(world.store, identity)
    world.begin(identity, resumed=15_000)
    world.train(identity, range(15_001, STEPS + 1), loss=lambda step: 2 + noise[step], attempt=2)
    yield world, identity
    world.store.close()


def seen(curves: Curves, look: Look) -> tuple[list[float], list[float]]:
    """Steps and values of the loss within what is looked at."""
    x, curve = curves.seen("loss", look.mode, look.window)
    inside = (x >= look.low) & (x <= look.high)
    return curve.step[inside].tolist(), curve.value[inside].tolist()


@pytest.mark.parametrize("mode", [XMode.STEP, XMode.ELAPSED, XMode.CLOCK])
def test_a_close_look_has_every_point_and_the_averages_of_the_whole(long_run: tuple[World, str], mode: XMode) -> None:
    world, identity = long_run
    reader = RunReader(world.store, identity)
    curves = reader.read().curves
    assert curves.series["loss"].step.size < 4_500 and curves.series["loss"].count == STEPS
    whole = dict(fresh(world.store, identity, {}))["loss"]
    x = np.interp([14_800, 15_300], curves.series["loss"].step, curves.x("loss", mode))
    look = Look(mode, float(x[0]), float(x[1]), frozenset({"loss", "grad_norm"}))
    assert curves.is_coarse("loss", mode, look.window)
    close = reader.read(look=look).curves
    assert not close.is_coarse("loss", mode, look.window)
    steps, values = seen(close, look)
    at = np.searchsorted(whole.step, steps[0])
    assert steps == whole.step[at : at + len(steps)].tolist() and values == whole.value[at : at + len(steps)].tolist()
    assert len(steps) >= 400 and steps[0] < 15_000 < steps[-1]
    _, curve = close.seen("loss", mode, look.window)
    expected = smooth(whole.value, 0.99)[np.searchsorted(whole.step, curve.step)]
    np.testing.assert_allclose(curve.smoothed(0.99), expected, atol=1e-5)
    assert reader.read(look=None).curves.closer is None


def test_a_look_at_the_end_goes_on_with_the_run_and_one_elsewhere_does_not(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 6_001))
    tracks, names = Tracks(), frozenset({"loss"})

    def read(look: Look) -> Curves:
        for name, points in fresh(world.store, identity, tracks.ends):
            tracks.extend(name, points)
        curves = tracks.curves()
        return tracks.curves() if tracks.look(world.store, identity, curves, look) else curves

    end, middle = Look(XMode.STEP, 5_000, 6_000, names), Look(XMode.STEP, 1_000, 1_100, names)
    read(end)
    world.train(identity, range(6_001, 6_101))
    moved = Look(XMode.STEP, 5_100, 6_100, names)
    assert seen(read(moved), moved)[0] == list(range(5_100, 6_101))
    assert seen(read(middle), middle)[0] == list(range(1_000, 1_101))
    world.train(identity, range(6_101, 6_201))
    curves = read(middle)
    assert seen(curves, middle)[0] == list(range(1_000, 1_101))
    assert curves.closer is not None and curves.closer.series["loss"].step[-1] < 1_200
    assert curves.series["loss"].step[-1] == 6_200


def test_what_few_points_show_whole_is_not_read_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.train(identity, range(1, 200))
    reader = RunReader(world.store, identity)
    reader.read()
    monkeypatch.setattr("engine.store.point_arrays.between", None)
    assert reader.read(look=Look(XMode.STEP, 10, 20, frozenset({"loss"}))).curves.closer is None


def test_a_step_that_is_not_kept_has_the_time_between_its_neighbours(long_run: tuple[World, str]) -> None:
    world, identity = long_run
    curve = RunReader(world.store, identity).read().curves.series["loss"]
    whole = dict(fresh(world.store, identity, {}))["loss"]
    left_out = sorted(set(range(100, 10_000)) - set(curve.step.tolist()))
    for step in left_out[:: len(left_out) // 20]:
        at = int(np.searchsorted(curve.step, step))
        time = curve.time_of(step)
        assert time is not None and curve.time[at - 1] <= time <= curve.time[at]
    assert curve.time_of(STEPS) == whole.time[-1] and curve.time_of(STEPS + 1) is None
