"""The launch form: what it shows is what is launched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store import experiments, inputs
from engine.telemetry.states import State
from tests.tui.screens.launch_form import app_of, edit, form_of, open_recipe, plans, said
from tests.tui.world import PPO, SPEC, World, drive, screen_text, shows, until
from tui.screens.confirm import ConfirmScreen
from tui.screens.launch import LaunchScreen
from tui.screens.recipes import RecipesScreen
from tui.screens.runs import RunsScreen

SIZE = (104, 32)
PIPELINE = """
pipeline: two
stages:
  sft: {spec: facts/sft.yaml}
  again: {spec: facts/sft.yaml, after: [sft], set: {train.steps: 5}}
"""


@pytest.fixture
def folder(world: World) -> Path:
    """The working folder, with a recipe and its data, a broken one, a pipeline, and a hostfile."""
    folder = world.store.path.parent
    (folder / "recipes" / "facts").mkdir(parents=True)
    (folder / "recipes" / "facts" / "sft.yaml").write_text(
        "# What it is for.\n" + SPEC.format(name="facts", steps=300, lr=3e-3)
    )
    (folder / "recipes" / "two.yaml").write_text(PIPELINE)
    (folder / "recipes" / "facts" / "facts.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (folder / "hostfiles").mkdir()
    (folder / "hostfiles" / "two").write_text("node-1 slots=2\nnode-2 slots=2\n")
    return folder


@pytest.mark.presses("new", "take-recipe", "edit", "find-field", "next-choice", "only-changed", "queue-it")
def test_a_recipe_is_changed_planned_confirmed_and_queued(world: World, folder: Path) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app_of(pilot).store_is_open)
        await pilot.press("n")
        await shows(pilot, "recipes/facts/sft.yaml", "recipes/two.yaml", "pipeline")
        await pilot.press("g", "j")
        await shows(pilot, "recipes/facts/sft.yaml", "What it is for.")
        await pilot.press("enter")
        await plans(pilot, "300 steps", "the spec is valid", "$ engine launch recipes/facts/sft.yaml", "this machine")
        await edit(pilot, "train.steps", "7")
        await plans(pilot, "7 steps", "--set train.steps=7")
        await shows(pilot, "← 300", "1 changed")
        await pilot.press("slash", *"hostfile", "enter", "g", "j", "right", "escape")
        await plans(pilot, "2 nodes, 4 ranks: node-1, node-2", "--hostfile hostfiles/two")
        await edit(pilot, "--name", "mine")
        await plans(pilot, "--name mine --set train.steps=7", "the spec is valid")
        await pilot.press("d")
        await until(pilot, lambda: "batch_size" not in screen_text(pilot.app.screen))
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch mine on 2 nodes of hostfiles/two?", "4 slots")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "sft-0001", "mine", "○ queued")

    drive(world.app(), scenario, SIZE)
    made = experiments.get(world.store, "sft-0001")
    assert (made.name, made.state, made.hostfile) == ("mine", State.QUEUED, str(folder / "hostfiles" / "two"))
    spec = experiments.get_spec(world.store, "sft-0001")
    assert spec.kind == "sft" and spec.train.steps == 7
    assert spec.data.train == str(folder / "recipes" / "facts" / "facts.jsonl")
    assert world.woken


@pytest.mark.presses("queue-it", "leave-form", "take-back", "leave-recipes")
def test_no_launches_nothing_and_leaving_asks_when_something_was_changed(world: World, folder: Path) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_recipe(pilot, "j")
        await shows(pilot, "the spec is valid")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch facts on this machine?")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await edit(pilot, "train.steps", "8")
        await pilot.press("escape")
        await shows(pilot, "1 changed field would be forgotten")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        form_of(pilot).form.table.select("train.steps")
        await pilot.press("u")
        await shows(pilot, "none changed")
        await edit(pilot, "train.steps", "9")
        await pilot.press("escape")
        await shows(pilot, "1 changed field would be forgotten")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecipesScreen))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario, SIZE)
    assert experiments.list_experiments(world.store) == [] and not world.woken


@pytest.mark.presses("edit")
def test_what_is_wrong_is_said_at_its_field_and_in_place_of_the_plan_and_is_not_launched(
    world: World, folder: Path
) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_recipe(pilot, "j")
        await shows(pilot, "the spec is valid")
        await edit(pilot, "train.lr", "-1")
        await shows(pilot, "✖ train.lr must be a number (above 0)")
        assert "the spec is valid" not in screen_text(pilot.app.screen)
        await pilot.press("ctrl+j")
        await until(pilot, lambda: said(pilot).startswith("Not queued: train.lr must be"))
        await edit(pilot, "train.lr", "1")
        await shows(pilot, "the spec is valid")
        await edit(pilot, "data.train", "gone.jsonl")
        await plans(pilot, "gone.jsonl, which is not there")
        await pilot.press("ctrl+j")
        await until(pilot, lambda: "which is not there" in said(pilot))

    drive(world.app(), scenario, SIZE)
    assert experiments.list_experiments(world.store) == []


@pytest.mark.presses("find-field", "leave-form", "next-choice", "previous-choice", "fold", "copy-command")
def test_escape_takes_an_edit_back_and_the_plan_follows_each_key(world: World, folder: Path) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_recipe(pilot, "j")
        await pilot.press("slash", *"in PPO r", "enter", "g", "j", "enter", "end", "7")
        await plans(pilot, "3007 steps")
        await pilot.press("escape", "escape")
        await plans(pilot, "300 steps")
        await shows(pilot, "none changed")
        form, draft = form_of(pilot).form, form_of(pilot).draft
        form.table.select("data.order")
        for key, order in (("right", "given"), ("left", "shuffled")):
            await pilot.press(key)
            assert draft.settings.get("data.order", "shuffled") == order
        form.table.select("data.packing")
        packing = draft.settings.get("data.packing", "false")
        await pilot.press("space")
        assert draft.settings["data.packing"] != packing
        await pilot.press("y")
        assert pilot.app.clipboard == draft.request().command(app_of(pilot).named_database)
        form.table.select("data")
        await pilot.press("space")
        await until(pilot, lambda: "packing" not in screen_text(pilot.app.screen))
        await pilot.press("space")
        await shows(pilot, "packing")

    drive(world.app(), scenario, SIZE)


def test_a_pipeline_is_launched_with_the_stages_that_are_chosen(world: World, folder: Path) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_recipe(pilot)
        await shows(pilot, "sft, after sft", "its 2 stages are valid")
        await edit(pilot, "again.train.steps", "6")
        await plans(pilot, "--set again.train.steps=6")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch 2 stages of two on this machine?", "sft, again")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "two-again", "sft-0001")

    drive(world.app(), scenario, SIZE)
    again = next(each for each in experiments.list_experiments(world.store) if each.name == "two-again")
    assert again.id == "sft-0002" and set(again.tags) == {"pipeline:two", "pipeline:two/1", "stage:again"}
    spec = experiments.get_spec(world.store, again.id)
    assert spec.kind == "sft" and spec.train.steps == 6 and world.woken


@pytest.mark.presses("clone")
def test_a_clone_begins_as_the_run_did_and_is_launched_as_its_child(world: World, folder: Path) -> None:
    first = world.add("base", steps=50, hostfile="hosts", hostfile_text="alpha slots=8\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, first)
        await pilot.press("C")
        await shows(pilot, "New sft run, as sft-0001", "where sft-0001 ran", "1 node, 8 ranks: alpha")
        await edit(pilot, "train.lr", "5e-4")
        await plans(pilot, "$ engine launch --clone sft-0001 --set train.lr=5e-4")
        await shows(pilot, "← 0.001")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch base on 1 node of hosts?")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "sft-0002")

    drive(world.app(), scenario, SIZE)
    made = experiments.get(world.store, "sft-0002")
    assert (made.parent_id, made.hostfile) == (first, "hosts")
    spec = experiments.get_spec(world.store, "sft-0002")
    assert spec.kind == "sft" and (spec.train.lr, spec.train.steps) == (5e-4, 50)


@pytest.mark.presses("save-preset")
def test_it_is_saved_as_a_recipe_and_another_one_gives_way_only_when_that_is_confirmed(
    world: World, folder: Path
) -> None:
    file = folder / "recipes" / "facts.yaml"

    async def scenario(pilot: Pilot[None]) -> None:
        await open_recipe(pilot, "j")
        await edit(pilot, "train.steps", "9")
        await pilot.press("ctrl+s")
        await shows(pilot, "save as a recipe", "recipes/facts.yaml")
        await pilot.press("enter")
        await until(pilot, lambda: said(pilot) == "Saved as recipes/facts.yaml.")
        file.write_text("mine")
        await pilot.press("ctrl+s", "enter")
        await shows(pilot, "Overwrite recipes/facts.yaml?")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        assert file.read_text() == "mine"
        await pilot.press("ctrl+s", "enter")
        await shows(pilot, "Overwrite recipes/facts.yaml?")
        await pilot.press("y")
        await until(pilot, lambda: "steps: 9" in file.read_text())

    drive(world.app(), scenario, SIZE)


@pytest.mark.presses("other-pane")
def test_a_hostfile_of_the_command_line_comes_first(world: World, folder: Path) -> None:
    mine = folder / "cluster"
    mine.write_text("alpha slots=8\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await open_recipe(pilot, "j")
        await pilot.press("tab")
        await shows(pilot, "1 node, 8 ranks: alpha", "--hostfile")

    drive(world.app(hostfiles=[mine]), scenario, (80, 40))


@pytest.mark.presses("recipe-path")
def test_what_an_earlier_run_is_to_make_is_waited_for_and_kept_as_lineage_when_it_is_made(world: World) -> None:
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
        await shows(pilot, parent)
        await pilot.press("n", "slash", *"ppo.yaml", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await plans(pilot, "when sft-0001 has succeeded", "planned when sft-0001 has made what it takes")
        export = str(folder / "export")
        world.tell(parent, "artifact", "Exported.", step=9, kind="model", path=export, sha256="ab" * 32)
        world.end(parent, State.SUCCEEDED)
        await edit(pilot, "seed", "7")
        await plans(pilot, "is no reward model", "turn force to true")
        form_of(pilot).form.table.select("rewards.rule.kind")
        await pilot.press("right")
        await plans(pilot, "${facts-sft.model}, made by sft-0001", "the spec is valid", "a rank", "the most to")
        await pilot.press("ctrl+j")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario, SIZE)
    spec = experiments.get_spec(world.store, "ppo-0001")
    assert spec.kind == "ppo" and spec.model.path == str(folder / "export")
    assert [(taken.input.reference, taken.input.step) for taken in inputs.inputs_of(world.store, "ppo-0001")] == [
        ("${facts-sft.model}", 9)
    ]
