"""Which model answers: one that an experiment has made, or a folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from tui.screens.ask import AskScreen
from tui.screens.menu import Choice, MenuScreen

if TYPE_CHECKING:
    from engine.generate.made_models import MadeModel
    from tui.app import PlumblineApp

_FOLDER = "folder:"  # no id of an experiment


async def choose_model(app: PlumblineApp, current: str | None) -> str | None:
    """Return the id of the experiment or the folder that was chosen; null when nothing was. Call it in a worker."""
    from engine.generate.made_models import list_models

    models = await asyncio.to_thread(list_models, app.store)
    choices = [_choice(model, current) for model in models]
    choices.append(Choice(_FOLDER, "a folder", key="f", note="config.json, weights, tokenizer"))
    chosen = await app.push_screen_wait(MenuScreen("the model that answers", choices))
    if chosen != _FOLDER:
        return chosen
    typed = await app.push_screen_wait(
        AskScreen(
            "the folder of a model", placeholder="a folder with config.json, weights, tokenizer", refusal=_refusal
        )
    )
    return str(Path(typed).expanduser()) if typed else None


def _choice(model: MadeModel, current: str | None) -> Choice:
    experiment = model.experiment
    refused = None if model.is_here else f"It is not on this machine: engine export {experiment.id} brings it here."
    return Choice(
        experiment.id,
        f"{experiment.id}  {experiment.name}" if experiment.name != experiment.id else experiment.id,
        note=model.artifact.kind.replace("_", " "),
        current=experiment.id == current,
        refused=refused,
    )


def _refusal(line: str) -> str | None:
    folder = Path(line).expanduser()
    return None if not line or (folder / "config.json").is_file() else f"There is no model in {folder}: no config.json."
