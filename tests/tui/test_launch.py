"""The launch form: what it shows is what is launched."""

from __future__ import annotations

import json
from pathlib import Path

from textual.pilot import Pilot

from engine.store import experiments, inputs
from engine.telemetry.states import State
from tests.tui.world import PPO, SPEC, World, drive, screen_text, shows, until
from tui.screens.launch import LaunchScreen
from tui.screens.runs import RunsScreen
from tui.widgets.status_line import StatusLine


def lay_out(folder: Path) -> None:
    """Write a recipe with its data, a broken one, and a hostfile."""
    (folder / "recipes" / "facts").mkdir(parents=True)
    (folder / "recipes" / "facts" / "sft.yaml").write_text(SPEC.format(name="facts", steps=300, lr=3e-3))
    (folder / "recipes" / "facts" / "facts.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (folder / "broken.yaml").write_text(SPEC.format(name="broken", steps=3, lr=1).replace("steps", "stepps"))
    (folder / "hostfiles").mkdir()
    (folder / "hostfiles" / "two").write_text("node-1 slots=2\nnode-2 slots=2\n")


def test_a_recipe_is_planned_confirmed_and_queued(world: World) -> None:
    folder = world.store.path.parent
    lay_out(folder)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await shows(
            pilot, "recipes/facts/sft.yaml", "300 steps", "the spec is valid", "$ engine launch recipes/facts/sft.yaml"
        )
        await pilot.press("tab", "tab", "down")
        await shows(pilot, "2 nodes, 4 ranks: node-1, node-2", "--hostfile", "hostfiles/two")
        await pilot.press("tab", *"mine", "tab", *"train.steps=7")
        await shows(pilot, "7 steps", "--name mine", "train.steps=7")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch mine on 2 nodes of hostfiles/two?", "4 slots")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "sft-0001", "mine", "○ queued")

    drive(world.app(), scenario)
    made = experiments.get(world.store, "sft-0001")
    assert (made.name, made.state, made.hostfile) == ("mine", State.QUEUED, str(folder / "hostfiles" / "two"))
    spec = experiments.get_spec(world.store, "sft-0001")
    assert spec.kind == "sft" and spec.train.steps == 7
    assert spec.data.train == str(folder / "recipes" / "facts" / "facts.jsonl")
    assert world.woken


def test_no_launches_nothing(world: World) -> None:
    lay_out(world.store.path.parent)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await shows(pilot, "the spec is valid")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch facts on this machine?")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario)
    assert experiments.list_experiments(world.store) == [] and not world.woken


def test_what_is_wrong_is_said_in_place_of_the_plan_and_cannot_be_launched(world: World) -> None:
    lay_out(world.store.path.parent)

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await shows(pilot, "the spec is valid")
        await pilot.press("tab", *"broken.yaml")
        await shows(pilot, "stepps", "steps")
        assert "the spec is valid" not in screen_text(pilot.app.screen)
        await pilot.press("ctrl+j")
        status = pilot.app.screen.query_one(StatusLine)
        await until(pilot, lambda: status.sentence.startswith("Not launched"))
        await pilot.press("ctrl+u", *"nowhere.yaml")
        await shows(pilot, "nowhere.yaml")

    drive(world.app(), scenario)
    assert experiments.list_experiments(world.store) == []


def test_a_hostfile_of_the_command_line_comes_first(world: World) -> None:
    folder = world.store.path.parent
    lay_out(folder)
    mine = folder / "cluster"
    mine.write_text("alpha slots=8\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await shows(pilot, "1 node, 8 ranks: alpha", "--hostfile")

    drive(world.app(hostfiles=[mine]), scenario, (80, 40))


def test_what_an_earlier_stage_made_is_looked_up_refused_until_it_is_there_and_kept_as_lineage(world: World) -> None:
    folder = world.store.path.parent
    shape = {"model_type": "llama", "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "intermediate_size": 48}
    (folder / "export").mkdir()
    (folder / "export" / "config.json").write_text(json.dumps(shape))
    (folder / "prompts.jsonl").write_text('{"prompt": "a"}\n')
    (folder / "ppo.yaml").write_text(
        PPO.replace("/models/sft", "'${facts-sft.model}'").replace("/data/", "").replace("{kind: exact_match}", "%s")
        % "{path: '${facts-sft.model}'}"
    )
    parent = world.add("facts-sft")
    world.begin(parent, hosts=("localhost",))

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("n")
        await pilot.press("tab", *"ppo.yaml")
        await shows(pilot, "has not finished: it is running")
        export = str(folder / "export")
        world.tell(parent, "artifact", "Exported.", step=9, kind="model", path=export, sha256="ab" * 32)
        world.end(parent, State.SUCCEEDED)
        await pilot.press("tab", "tab", "tab", *"seed=7")
        await shows(pilot, "is no reward model", "--force")
        await pilot.press("ctrl+u", *"rewards.rule.kind=exact_match")
        await shows(pilot, "${facts-sft.model}, made by sft-0001", "the spec is valid", "a rank, the most to")
        await pilot.press("ctrl+j", "y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario)
    spec = experiments.get_spec(world.store, "ppo-0001")
    assert spec.kind == "ppo" and spec.model.path == str(folder / "export")
    assert [(taken.input.reference, taken.input.step) for taken in inputs.inputs_of(world.store, "ppo-0001")] == [
        ("${facts-sft.model}", 9)
    ]
