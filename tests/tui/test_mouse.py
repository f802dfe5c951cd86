"""The mouse: what stands on the screen can be clicked, and each click is what its key would be."""

from __future__ import annotations

from textual.events import MouseScrollUp
from textual.pilot import Pilot

from engine.spec.loading import parse_spec
from engine.store import experiments
from tests.tui.world import SPEC, World, drive, screen_text, shows, until
from tui.app import PlumblineApp
from tui.places import PLACES
from tui.screens.cluster import ClusterScreen
from tui.screens.compare import CompareScreen
from tui.screens.launch import LaunchScreen
from tui.widgets.chart import Chart


async def click(pilot: Pilot[None], text: str, line: int | None = None, times: int = 1) -> None:
    """Click where a text stands. line: from the top; by default where it stands farthest to the left."""
    await shows(pilot, text)
    lines = screen_text(pilot.app.screen).splitlines()
    rows = [at for at, one in enumerate(lines) if text in one] if line is None else [line % len(lines)]
    column, row = min((lines[at].index(text), at) for at in rows)
    await pilot.click(offset=(column + 1, row), times=times)


def under_cursor(pilot: Pilot[None]) -> str | None:
    """The id of the run that actions would act on."""
    assert isinstance(pilot.app, PlumblineApp)
    selected = pilot.app.context.experiment
    return selected.id if selected is not None else None


async def comes(pilot: Pilot[None], name: str) -> None:
    """Wait for a screen. name: of its class."""
    await until(pilot, lambda: type(pilot.app.screen).__name__ == name)


def test_places_keys_rows_slots_tabs_charts_and_fields_are_clicked(  # noqa: PLR0915
    world: World, running: str
) -> None:
    folder = world.store.path.parent
    (folder / "recipes").mkdir()
    (folder / "recipes" / "sft.yaml").write_text(SPEC.format(name="facts", steps=3, lr=1))
    (folder / "recipes" / "facts.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    other = world.add("two", hostfile="hosts", hostfile_text="n1 slots=1\nn2 slots=1\n")
    world.begin(other, hosts=("n1", "n2"))
    world.train(other, range(1, 31))
    build = experiments.create(world.store, parse_spec("kind: rag\nname: big\ncorpus: {path: /data}\n"), name="big")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running, other, build)
        await click(pilot, running)
        assert under_cursor(pilot) == running
        await click(pilot, "help", -1)
        await comes(pilot, "HelpScreen")
        await pilot.press("escape", "ctrl+a")
        await click(pilot, other, times=2)
        await comes(pilot, "RunScreen")
        await shows(pilot, "30/100")
        for place in (*PLACES, PLACES[0]):
            await click(pilot, f" {place.key} {place.title} ", 0)
            await comes(pilot, f"{place.title}Screen")
        await places(pilot)
        await choices(pilot)

    async def places(pilot: Pilot[None]) -> None:
        app = pilot.app
        await pilot.press("3")
        await shows(pilot, "A ●", "loss")
        chart = app.screen.query(Chart).first()
        chart.post_message(MouseScrollUp(chart, 20, 5, 0, 0, 0, False, False, False))
        await shows(pilot, "zoomed: 0 shows all")
        await click(pilot, f"B ◆ {other}")
        assert under_cursor(pilot) == other
        await click(pilot, "metrics")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.tab == "metrics")
        await pilot.press("4")
        await shows(pilot, build)
        await click(pilot, build)
        assert under_cursor(pilot) == build
        await pilot.press("5")
        await shows(pilot, "n2")
        await click(pilot, "n2")
        assert isinstance(app.screen, ClusterScreen) and app.screen.node is not None and app.screen.node.host == "n2"
        await pilot.press("6")
        await shows(pilot, build)
        await click(pilot, "big", times=2)
        await comes(pilot, "RunScreen")

    async def choices(pilot: Pilot[None]) -> None:
        await pilot.press("1", "o")
        await comes(pilot, "MenuScreen")
        await click(pilot, "kind")
        await shows(pilot, "kind ↑")
        await click(pilot, "new", -1)
        await shows(pilot, "recipes/sft.yaml")
        await click(pilot, "recipes/sft.yaml", times=2)
        await comes(pilot, "LaunchScreen")
        await shows(pilot, "the spec is valid")
        form = pilot.app.screen
        assert isinstance(form, LaunchScreen)
        await click(pilot, "max_length", times=2)
        await until(pilot, lambda: form.form.is_editing)
        assert form.form.field is not None and form.form.field.key == "data.max_length"

    drive(world.app(), scenario, (120, 60))
