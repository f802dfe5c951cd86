"""What cannot be done says why in the status line, on every screen and by its own key, and does nothing."""

from __future__ import annotations

from textual.pilot import Pilot

from engine.store import experiments
from engine.telemetry.states import Desired
from tests.tui.world import World, drive, shows, until
from tui.actions import table
from tui.actions.action import Context
from tui.actions.table import ACTIONS
from tui.app import PlumblineApp
from tui.places import PLACES
from tui.widgets.status_line import StatusLine


async def refused(pilot: Pilot[None]) -> set[str]:
    """Press the keys of all that the screen refuses now; each of them must say why, and do nothing else."""
    app = pilot.app
    assert isinstance(app, PlumblineApp)
    screen, status, found = app.screen, app.screen.query_one(StatusLine), set()
    for active in list(screen.active_bindings.values()):
        entry = table.find(active.binding.id)
        sentence = entry.refusal(app.context) if entry is not None else None
        if entry is None or sentence is None:
            continue
        status.silence()
        await pilot.press(active.binding.key)
        await until(pilot, lambda sentence=sentence: status.sentence == sentence)  # type: ignore[misc]
        assert app.screen is screen, f"{entry.id} did something"
        found.add(entry.id)
    return found


async def refused_in_all_places(pilot: Pilot[None]) -> set[str]:
    """Do so in each place, from the first to the last."""
    found: set[str] = set()
    for place in PLACES:
        await pilot.press(place.key)
        await shows(pilot, f"{place.key} {place.title}")
        await pilot.pause()
        found |= await refused(pilot)
    return found


def test_where_there_is_nothing_each_key_that_needs_something_says_so(world: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "No runs yet.")
        found = await refused_in_all_places(pilot)
        assert found == {entry.id for entry in ACTIONS if entry.refusal(Context())}

    drive(world.app(), scenario)


def test_read_only_every_key_that_would_change_something_says_so_on_every_screen(world: World, running: str) -> None:
    version = world.store.data_version()

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "40/100")
        found = await refused_in_all_places(pilot)
        reached = {entry.id for entry in ACTIONS if (entry.danger or entry.writes) and entry.scope != "launch"}
        assert reached <= found, "the form is not reached at all"

    drive(world.app(readonly=True), scenario)
    assert world.store.data_version() == version and not world.woken
    assert experiments.get(world.store, running).desired is Desired.RUN
