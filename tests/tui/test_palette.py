"""The palette offers whatever can be done on the screen below it, and does what is chosen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.command import Command, CommandList, CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input

from engine.spec.loading import parse_spec
from engine.store import experiments
from tests.tui.world import SPEC, World, drive, screen_text, shows, until
from tui import theme
from tui.actions.table import find, of_scope
from tui.app import PlumblineApp
from tui.palette import ActionCommands
from tui.screens.launch import LaunchScreen
from tui.screens.menu import MenuScreen
from tui.widgets.log_view import LogView
from tui.widgets.status_line import StatusLine


def require_all(pilot: Pilot[None], *scopes: str) -> None:
    """Whatever these scopes have and is not refused is offered."""
    app = pilot.app
    assert isinstance(app, PlumblineApp)
    wanted = {entry.id for entry in of_scope(*scopes, "everywhere") if entry.refusal(app.context) is None}
    offered = {entry.id for entry, _, _ in ActionCommands(app.screen)._entries()}
    assert offered == wanted - {"palette"}


def said(pilot: Pilot[None]) -> str:
    """What the status line says."""
    return pilot.app.screen.query_one(StatusLine).sentence


def best(pilot: Pilot[None]) -> str | None:
    """What stands first in the open palette; null while it looks for it."""
    options = pilot.app.screen.query_one(CommandList).options
    return options[0].hit.text if options and isinstance(options[0], Command) else None


async def choose(pilot: Pilot[None], identity: str, holds: Callable[[], bool], key: str = "colon") -> None:
    """Choose an action by its words in the palette, and wait until something holds."""
    entry, screen = find(identity), pilot.app.screen
    assert entry is not None
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
    pilot.app.screen.query_one(Input).value = entry.text
    await until(pilot, lambda: str(best(pilot)).startswith(f"{entry.text}  ("))
    await pilot.press("down", "up", "enter")
    await until(pilot, lambda: pilot.app.screen is not screen or holds())
    await until(pilot, holds)


@pytest.mark.presses("palette", "theme")
def test_every_screen_offers_all_its_actions_and_does_the_one_that_is_chosen(world: World, running: str) -> None:
    folder = world.store.path.parent
    (folder / "recipes").mkdir()
    (folder / "recipes" / "sft.yaml").write_text(SPEC.format(name="facts", steps=3, lr=1))
    world.log(running, b"hello\n")
    other = world.add("two", hostfile="hosts", hostfile_text="n1 slots=1\n")
    experiments.create(world.store, parse_spec("kind: rag\nname: big\ncorpus: {path: /data}\n"), name="big")

    async def scenario(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, PlumblineApp)
        await shows(pilot, running, "rag-0001", other)
        require_all(pilot, "runs", "run")
        await choose(pilot, "group", lambda: isinstance(app.screen, MenuScreen))
        await pilot.press("escape", "ctrl+a")
        await choose(pilot, "theme", lambda: app.theme == theme.LIGHT.name)
        await pilot.press("ctrl+t")
        assert app.theme == theme.DARK.name
        await pilot.press("3")
        await shows(pilot, "A ●")
        require_all(pilot, "compare", "run")
        await choose(pilot, "compare-spec", lambda: "keys differ" in screen_text(app.screen))
        await pilot.press("4")
        await shows(pilot, "n1")
        require_all(pilot, "queue", "run")
        await choose(pilot, "queue-pane", lambda: app.screen.focused is not app.screen.query_one("#queue"))
        await pilot.press("5")
        await shows(pilot, "n1", "2 nodes")
        require_all(pilot, "cluster", "run")
        await choose(pilot, "drain", lambda: "Drain node localhost?" in screen_text(app.screen))
        await pilot.press("escape", "6")
        await shows(pilot, "1 index")
        require_all(pilot, "index", "run")
        await choose(pilot, "index-answer", lambda: said(pilot).startswith("Nothing was asked yet"))
        await choose(pilot, "go-runs", lambda: app.screen is app.get_default_screen())
        await one_run(pilot)

    async def one_run(pilot: Pilot[None]) -> None:
        app = pilot.app
        await pilot.press("G", "enter", "l")
        await until(pilot, lambda: isinstance(app.focused, LogView))
        await shows(pilot, "hello", "40/100")
        require_all(pilot, "charts", "log", "run")  # also those whose keys mean something else in the log
        await choose(pilot, "log-wrap", lambda: app.screen.query_one(LogView).wraps, key="ctrl+p")
        await choose(pilot, "go-runs", lambda: app.screen is app.get_default_screen())
        await pilot.press("n")
        await shows(pilot, "recipes/sft.yaml")
        require_all(pilot, "recipes")
        await pilot.press("g")
        await choose(pilot, "take-recipe", lambda: isinstance(app.screen, LaunchScreen))
        require_all(pilot, "launch")
        await choose(pilot, "copy-command", lambda: app.clipboard.startswith("engine launch recipes/sft.yaml"))

    drive(world.app(), scenario)
