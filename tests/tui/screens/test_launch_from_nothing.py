"""The launch form: a run from nothing, one that is forced, and that nothing typed is lost without a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store import experiments
from tests.tui.screens.launch_form import app_of, edit, form_of, plans, said
from tests.tui.world import World, drive, screen_text, shows, until
from tui.screens.confirm import ConfirmScreen
from tui.screens.launch import LaunchScreen
from tui.screens.recipes import RecipesScreen
from tui.screens.runs import RunsScreen

SIZE = (104, 32)
HUGE = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
}
KINDS = ("sft", "rm", "ppo", "rag", "eval")


@pytest.fixture
def folder(world: World) -> Path:
    """The working folder: data, a model that is too large, and hosts."""
    folder = world.store.path.parent
    (folder / "facts.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (folder / "huge").mkdir()
    (folder / "huge" / "config.json").write_text(json.dumps(HUGE))
    return folder


async def open_empty(pilot: Pilot[None], kind: str) -> None:
    """Go to the form of a run of this kind from nothing."""
    await until(pilot, lambda: app_of(pilot).store_is_open)
    await pilot.press("n")
    await shows(pilot, "they are looked for")
    await pilot.press("G", *["k"] * (len(KINDS) - 1 - KINDS.index(kind)), "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
    await shows(pilot, f"New {kind} run, from nothing")


def test_a_run_from_nothing_marks_what_is_required_and_is_queued_as_the_command_says(
    world: World, folder: Path
) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_empty(pilot, "sft")
        await plans(pilot, "data.train is missing", "model needs either path or architecture", "launch --kind sft")
        await shows(pilot, "train *", "required")
        await pilot.press("ctrl+j")
        await until(pilot, lambda: said(pilot).startswith("Not queued: 2 errors, the first: model needs"))
        await edit(pilot, "data.train", "facts.jsonl")
        form_of(pilot).form.table.select("model.architecture")
        await pilot.press("enter")
        form_of(pilot).form.table.select("model.tokenizer")
        await pilot.press("enter")
        await plans(pilot, "the spec is valid", "--set data.train=facts.jsonl --set 'model.architecture={}'")
        assert "required" not in screen_text(pilot.app.screen)
        command = form_of(pilot).draft.request().command()
        assert command.startswith("engine launch --kind sft --set data.train=facts.jsonl")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch sft on this machine?", "--kind sft")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "sft-0001", "○ queued")

    drive(world.app(), scenario, SIZE)
    spec = experiments.get_spec(world.store, "sft-0001")
    assert spec.kind == "sft" and spec.data.train == str(folder / "facts.jsonl")
    assert spec.model.architecture is not None and spec.model.tokenizer is not None


def test_each_kind_has_its_own_fields_from_nothing(world: World, folder: Path) -> None:
    wanted = {"rm": "loss", "ppo": "rewards *", "rag": "documents", "eval": "questions *"}

    async def scenario(pilot: Pilot[None]) -> None:
        for kind, field in wanted.items():
            await open_empty(pilot, kind)
            await plans(pilot, "is missing", f"engine launch --kind {kind}")
            await pilot.press("slash", *field.removesuffix(" *"), "enter")
            await shows(pilot, f"{field} ")
            if kind == "ppo":
                await shows(pilot, "e.g. {reward: {path:", "for example {reward: {path: models/reward}}")
                await edit(pilot, "rewards", "{A b: {kind: length}}")
                await shows(pilot, '✖ "A b" is no name in rewards')
                await pilot.press("u")
            await pilot.press("escape", "escape")
            await until(pilot, lambda: isinstance(pilot.app.screen, RecipesScreen))
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(), scenario, SIZE)


def test_what_its_plan_says_cannot_run_is_refused_with_the_reason_unless_it_is_forced(
    world: World, folder: Path
) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_empty(pilot, "sft")
        await edit(pilot, "data.train", "facts.jsonl")
        await edit(pilot, "model.path", "huge")
        await edit(pilot, "--gpu-memory", "lots")
        await plans(pilot, "'lots' is no amount of memory")
        await edit(pilot, "--gpu-memory", "80GB")
        await plans(pilot, "80.0 GB", "turn force to true", "--gpu-memory 80GB")
        await pilot.press("ctrl+j")
        await until(pilot, lambda: said(pilot).startswith("Not queued: ") and "turn force to true" in said(pilot))
        form_of(pilot).form.table.select("--force")
        await pilot.press("space")
        await plans(pilot, "! Its plan says that it cannot run:", "--gpu-memory 80GB --force")
        await pilot.press("ctrl+j")
        await shows(pilot, "Launch sft on this machine?", "It is forced: its plan says that it cannot run.", "--force")
        await pilot.press("y")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await shows(pilot, "sft-0001")

    drive(world.app(), scenario, SIZE)
    assert experiments.get(world.store, "sft-0001").forced


def test_no_key_leaves_a_form_that_was_changed_without_a_question(world: World, folder: Path) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_empty(pilot, "rag")
        await edit(pilot, "seed", "7")
        for key in ("1", "4", "q", "ctrl+q", "escape"):
            await pilot.press(key)
            await shows(pilot, "Leave the form of a new rag run?", "1 changed field would be forgotten")
            await pilot.press("n")
            await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await pilot.press("left_square_bracket", "right_square_bracket")
        assert form_of(pilot).draft.changes == 1
        await pilot.press("4", "y")
        await until(pilot, lambda: pilot.app.screen.id == "queue" or "queue" in screen_text(pilot.app.screen).lower())
        await pilot.press("1")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await open_empty(pilot, "rag")
        await pilot.press("1")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await open_empty(pilot, "rag")
        await edit(pilot, "seed", "8")
        await pilot.press("q")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen))
        await pilot.press("y")

    app = world.app()
    drive(app, scenario, SIZE)
    assert app._exit
