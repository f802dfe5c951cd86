"""How the tests drive the launch form."""

from __future__ import annotations

from textual.pilot import Pilot

from tests.tui.world import shows, until
from tui.app import PlumblineApp
from tui.screens.launch import LaunchScreen
from tui.widgets.status_line import StatusLine


async def open_recipe(pilot: Pilot[None], *keys: str) -> None:
    """Go to the form of the recipe that these keys lead to, and wait for its plan."""
    await until(pilot, lambda: app_of(pilot).store_is_open)
    await pilot.press("n")
    await shows(pilot, "recipes/facts/sft.yaml")
    await pilot.press("g", *keys, "enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))


def app_of(pilot: Pilot[None]) -> PlumblineApp:
    """The app by its own type."""
    assert isinstance(pilot.app, PlumblineApp)
    return pilot.app


async def edit(pilot: Pilot[None], key: str, text: str) -> None:
    """Type a value into a field."""
    form = form_of(pilot)
    form.form._folded.clear()
    form.form.refresh_fields()
    form.form.table.select(key)
    await pilot.press("enter")
    await until(pilot, lambda: form.form.is_editing)
    await pilot.press(*text, "enter")


def form_of(pilot: Pilot[None]) -> LaunchScreen:
    """The form."""
    form = pilot.app.screen
    assert isinstance(form, LaunchScreen)
    return form


async def plans(pilot: Pilot[None], *texts: str) -> None:
    """Wait until all of these stand in the plan, however its lines are broken."""
    form = form_of(pilot)
    await until(
        pilot,
        lambda: all(text in "\n".join(line.plain for _, line in form.plan_text._lines) for text in texts),
    )


def said(pilot: Pilot[None]) -> str:
    """What the status line says."""
    return pilot.app.screen.query_one(StatusLine).sentence
