"""What is read of a run, step by step, is what stands in the database."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.spec.loading import parse_spec
from engine.store import experiments
from engine.store.samples import list_samples
from engine.telemetry.records import Level
from engine.telemetry.states import State
from tests.tui.world import PPO, World
from tui.run.facts import RunReader, log_files


def test_reading_again_and_again_gives_what_reading_once_gives(world: World) -> None:
    identity = world.add("one")
    reader = RunReader(world.store, identity)
    assert reader.read().curves.series == {} and reader.read().attempts == []
    world.begin(identity)
    world.train(identity, range(1, 31))
    world.checkpoint(identity, 20)
    first = reader.read()
    assert first.last_checkpoint == 20 and first.curves.series["loss"].step.tolist() == list(range(1, 31))
    world.train(identity, range(31, 41), kl=3.0)
    world.checkpoint(identity, 40)
    assert reader.read().marks == [(20, "checkpoint"), (40, "checkpoint")]
    world.end(identity, State.LOST)
    experiments.resume(world.store, identity)
    world.begin(identity, resumed=20)
    world.train(identity, range(21, 23), loss=lambda step: -1.0, attempt=2)
    again, once = reader.read(), RunReader(world.store, identity).read()
    assert again.curves.series.keys() == once.curves.series.keys()
    for name, curve in once.curves.series.items():
        for field in ("attempt", "step", "time", "value"):
            np.testing.assert_array_equal(getattr(again.curves.series[name], field), getattr(curve, field))
    assert once.curves.series["loss"].step.tolist() == list(range(1, 23))
    assert again.events == once.events
    assert again.marks == [(20, "restart"), (20, "checkpoint")] and again.last_checkpoint == 20


def test_samples_are_read_only_when_they_are_wanted(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    world.sample(identity, 1, "prompt", "response")
    reader = RunReader(world.store, identity)
    assert not reader.read().samples and len(reader.read("samples").samples) == 1


def test_logs_are_those_of_the_newest_attempt_by_rank_and_are_named_by_host(world: World, tmp_path: Path) -> None:
    identity = world.add("one")
    for attempt in (1, 2):
        world.begin(identity, hosts=("alpha", "beta"))
        for node, rank in ((0, 0), (0, 1), (1, 2), (1, 10)):
            world.log(identity, b"x\n", attempt=attempt, node=node, rank=rank)
        world.log(identity, b"x\n", attempt=attempt).with_name("agent.log").write_bytes(b"y\n")
        world.end(identity, State.STOPPED, attempt=attempt)
        if attempt == 1:
            experiments.resume(world.store, identity)
    facts = RunReader(world.store, identity).read()
    names = [" ".join(facts.log_name(path)) for path in facts.logs]
    assert names[:5] == [
        "attempt 2 alpha rank 0",
        "attempt 2 alpha rank 1",
        "attempt 2 beta rank 2",
        "attempt 2 beta rank 10",
        "attempt 2 alpha agent",
    ]
    assert len(names) == 10 and names[5] == "attempt 1 alpha rank 0"
    assert log_files(world.store.runs_dir, "sft-9999") == []


def test_the_target_of_the_divergence_is_that_of_the_newest_spec(world: World) -> None:
    identity = world.add_ppo("one", kl_target=6.0)
    reader = RunReader(world.store, identity)
    assert reader.read().targets == reader.read().targets == {"kl": 6.0}
    world.begin(identity)
    world.end(identity, State.STOPPED)
    spec = parse_spec(PPO, overrides=["ppo.kl_target=2.5"])
    experiments.resume(world.store, identity, spec)
    assert reader.read().targets == {"kl": 2.5}
    for other in (world.add_ppo("fixed"), world.add("sft")):
        assert RunReader(world.store, other).read().targets == {}


def test_a_way_back_is_marked_where_it_happened(world: World) -> None:
    identity = world.add_ppo("one")
    world.begin(identity)
    world.train(identity, range(1, 25))
    world.checkpoint(identity, 4)
    world.tell(identity, "rolled_back", "Rolled back.", step=14, level=Level.WARNING, to_step=4)
    assert RunReader(world.store, identity).read().marks == [(14, "rollback"), (4, "checkpoint")]


def test_of_many_samples_the_newest_that_count_are_shown_in_order(world: World) -> None:
    identity = world.add("one")
    world.begin(identity)
    for step in (10, 20, 30):
        for prompt in ("a", "b"):
            world.sample(identity, step, prompt, f"at {step}")
    world.end(identity, State.LOST)
    experiments.resume(world.store, identity)
    world.begin(identity, resumed=20)
    found = list_samples(world.store, identity, newest=3)
    assert [(one.step, one.prompt) for one in found] == [(10, "b"), (20, "a"), (20, "b")]
    assert len(list_samples(world.store, identity)) == 4
