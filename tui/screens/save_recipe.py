"""Saving what the form says as a recipe: asks for the file, and before another one gives way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PlumblineError
from tui.screens.ask import AskScreen
from tui.screens.confirm import ConfirmScreen
from tui.text.safe import visible

if TYPE_CHECKING:
    from tui.screens.launch import LaunchScreen


async def save_recipe(screen: LaunchScreen) -> None:
    """Ask where, and write it. A pipeline is not saved: its stages have files of their own."""
    from engine.spec.presets import write_recipe
    from tui.form.draft import SpecDraft

    draft, app = screen.draft, screen.plumbline
    if not isinstance(draft, SpecDraft):
        screen.status.say("A pipeline is not saved; the command (y) has what was changed.", "warning")
        return
    try:
        spec, _ = draft.spec_for("")
    except PlumblineError as error:
        screen.status.say(f"Not saved, since it is not valid: {error.message.splitlines()[0]}", "error")
        return
    name = draft.request().name
    if name:
        spec = spec.model_copy(update={"name": name})
    ask = AskScreen(
        "save as a recipe",
        value=f"recipes/{name or spec.name or spec.kind}.yaml",
        told="The file. What lies below recipes/ is found by n.",
        refusal=lambda line: None if line else "Name a file.",
    )
    typed = await app.push_screen_wait(ask)
    if typed is None:
        return
    file = Path(typed).expanduser()
    file = file if file.suffix in (".yaml", ".yml") else file.with_name(f"{file.name}.yaml")
    there = await asyncio.to_thread(file.exists)
    if there:
        asked, lost = f"Overwrite {visible(str(file))}?", "What stands in it now is lost."
        if not await app.push_screen_wait(ConfirmScreen(asked, verb="Overwrite", cost=lost)):
            return
    try:
        await asyncio.to_thread(write_recipe, spec, file, overwrite=there)
    except PlumblineError as error:
        screen.status.say(str(error), "error")
    else:
        screen.status.say(f"Saved as {visible(str(file))}.")
