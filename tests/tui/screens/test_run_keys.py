"""What keys and the mouse do on the Run screen, over a real database."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine.store import experiments
from engine.telemetry.states import Desired, State
from tests.tui.screens.run_screen import grid, said, screen, steps
from tests.tui.world import World, drive, screen_text, shows, until
from tui.actions.table import of_scope
from tui.data import StoreChanged
from tui.screens.confirm import ConfirmScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.widgets.chart import Chart
from tui.widgets.status_line import StatusLine


@pytest.mark.presses("interrupt", "kill", "resume", "copy")
def test_stopping_killing_and_resuming_ask_with_the_same_words_as_in_the_list(world: World, running: str) -> None:
    world.checkpoint(running, 30)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        for _ in range(2):  # as when the key is pressed again before the question stands: it is asked once
            await pilot.app.run_action("stop(True)")
        await shows(pilot, "Kill sft-0001 (one)?", "10 steps are lost", "$ engine stop sft-0001 --now")
        await pilot.press("escape")
        await until(
            pilot, lambda: not any(worker.is_running for worker in pilot.app.workers if worker.name == "action_stop")
        )
        await pilot.press("K")
        await shows(pilot, "Kill sft-0001 (one)?")
        world.train(running, range(41, 46))
        pilot.app.post_message(StoreChanged())
        await until(pilot, lambda: "step 45/100" in screen_text(pilot.app.screen_stack[-2]))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmScreen))
        assert isinstance(pilot.app.screen, RunScreen) and not world.woken
        await pilot.press("I")
        await shows(pilot, "Stop sft-0001 (one)?")
        await pilot.press("y")
        await until(pilot, lambda: "is being stopped" in said(pilot))
        assert experiments.get(world.store, running).desired is Desired.STOP and world.woken
        await shows(pilot, "● running, stopping")
        await pilot.press("R")
        await until(pilot, lambda: "only a run that has ended can be resumed" in said(pilot))
        world.end(running, State.STOPPED)
        await shows(pilot, "■ stopped")
        await pilot.press("R")
        await shows(pilot, "Resume sft-0001 (one)?", "from the checkpoint of step 30")
        await pilot.press("y")
        await shows(pilot, "○ queued")
        await pilot.press("y")
        await shows(pilot, "copy of sft-0001", "engine show sft-0001", "its spec")
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.clipboard == running)
        await pilot.press("y", "s")
        await until(pilot, lambda: "kind: sft" in pilot.app.clipboard)
        assert said(pilot) == "The spec of sft-0001 is on the clipboard."

    drive(world.app(experiment=running), scenario)


def test_read_only_looks_at_everything_and_stops_nothing(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        for key in ("I", "K", "R"):
            await pilot.press(key)
            await until(pilot, lambda: "Read-only" in said(pilot))
            assert isinstance(pilot.app.screen, RunScreen)
            screen(pilot).query_one(StatusLine).silence()
        await pilot.press("x", "i", "s")
        await shows(pilot, "No samples yet")

    drive(world.app(experiment=running, readonly=True), scenario)
    assert experiments.get(world.store, running).desired is Desired.RUN


@pytest.mark.presses("back", "back-out", "maximise", "zoom-in", "inspect", "left", "log", "search")
def test_escape_undoes_one_thing_at_a_time_and_never_quits(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        await until(pilot, lambda: isinstance(pilot.app.focused, Chart))
        await pilot.press("l", "slash", "x", "escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.focused, Chart))
        await pilot.press("enter", "plus", "plus", "i", "left")
        charts = grid(pilot)
        assert charts.maximised == "loss" and charts.view.window == (30.25, 40) and charts.view.crosshair == 39
        await shows(pilot, "crosshair at step 39", "zoomed", "loss 0.05128205 nats")
        assert not any(chart.display for chart in charts.charts[1:])
        await pilot.press("escape")
        assert charts.view.crosshair is None and charts.view.window is not None
        await pilot.press("escape")
        assert charts.view.window is None and charts.maximised == "loss"
        await pilot.press("escape")
        assert charts.maximised is None and all(chart.display for chart in charts.charts)
        assert pilot.app.focused is charts.charts[0]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        await pilot.press("escape", "escape")
        assert isinstance(pilot.app.screen, RunsScreen) and pilot.app.return_code is None

    drive(world.app(experiment=running), scenario)


@pytest.mark.presses(
    "x-axis",
    "y-axis",
    "smoother",
    "rougher",
    "zoom-in",
    "zoom-out",
    "left",
    "right",
    "reset",
    "next-charts",
    "previous-charts",
    "chart-below",
    "chart-above",
    "next-focus",
    "previous-focus",
)
def test_axes_smoothing_zoom_pages_and_focus_answer_to_their_keys(world: World, running: str) -> None:
    world.train(running, range(41, 51), tokens=9.0, **{f"extra_{number}": 1.0 for number in range(4)})

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 50/100", "charts 1/2: pgdn", "x step", "smoothing 0.6")
        charts = grid(pilot)
        await pilot.press("x")
        await until(pilot, lambda: said(pilot) == "x axis: tokens")
        await pilot.press("x")
        await until(pilot, lambda: said(pilot) == "x axis: samples")
        await pilot.press("x")
        await until(pilot, lambda: said(pilot) == "x axis: elapsed")
        await pilot.press("x")
        await until(pilot, lambda: said(pilot) == "x axis: local time")
        await pilot.press("x", "full_stop", "full_stop", "comma")
        await until(pilot, lambda: charts.view.smoothing == 0.8)
        await pilot.press("v")
        await until(pilot, lambda: "y axis of loss: log" in said(pilot))
        assert "log" in charts.charts[0].frame.text() and "log" not in charts.charts[1].frame.text()
        await pilot.press("left")
        await until(pilot, lambda: said(pilot).startswith("Everything is shown"))
        await pilot.press("plus", "left", "left")
        earlier = charts.view.window
        await pilot.press("right")
        assert earlier is not None and charts.view.window is not None and charts.view.window[0] > earlier[0]
        await pilot.press("minus", "minus")
        assert charts.view.window is None
        await pilot.press("plus")
        world.train(running, range(51, 61))
        await shows(pilot, "step 60/100")
        assert charts.view.window is not None and charts.view.window[1] == 60, "a zoom at the end keeps up"
        await pilot.press("0", "pagedown")
        await shows(pilot, "extra_3")
        await pilot.press("pagedown")
        await until(pilot, lambda: "page 2 of 2" in said(pilot))
        await pilot.press("pageup")
        await shows(pilot, "loss")
        assert "log" not in charts.charts[0].frame.text(), "0 has made y linear again"
        below = round(charts.size.width / charts.charts[0].size.width)
        charts.focus_first()
        for key, chosen in (("tab", 1), ("shift+tab", 0), ("down", below), ("k", 0), ("j", below), ("up", 0)):
            await pilot.press(key)
            assert pilot.app.focused is charts.charts[chosen], key

    drive(world.app(experiment=running), scenario)


def test_the_mouse_chooses_zooms_enlarges_and_picks_tabs(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100", "grad_norm")
        charts = grid(pilot)
        await pilot.click(charts.charts[1])
        assert pilot.app.focused is charts.charts[1]
        await pilot.press("i")
        await pilot.click(charts.charts[0], offset=(12, 5))
        assert charts.view.crosshair is not None and charts.view.crosshair < 20
        from textual.events import MouseScrollUp

        first = charts.charts[0]
        first.post_message(MouseScrollUp(first, 20, 5, 0, 0, 0, False, False, False))
        await until(pilot, lambda: charts.view.window is not None)
        await pilot.press("escape", "escape")
        await pilot.click(charts.charts[2], times=2)
        assert charts.maximised == "grad_norm"
        await pilot.press("escape")
        await pilot.click("PaneBar", offset=(10, 0))
        await shows(pilot, "No samples yet")

    drive(world.app(experiment=running), scenario)


@pytest.mark.presses("next-run", "previous-run", "filter", "open")
def test_the_runs_of_the_filtered_list_are_walked_with_brackets(world: World) -> None:
    for name in ("alpha", "other", "alpine"):
        identity = world.add(name)
        world.begin(identity)
        world.train(identity, range(1, 3 + int(identity[-1])))

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0003")
        await pilot.press("slash", *"alp", "enter", "enter")
        await shows(pilot, "sft-0003  alpine", "step 5/100")
        await pilot.press("right_square_bracket")
        await shows(pilot, "sft-0001  alpha", "step 3/100")
        assert steps(pilot) == [1, 2, 3]
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: "last run of the list" in said(pilot))
        await pilot.press("left_square_bracket")
        await shows(pilot, "sft-0003  alpine")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        selected = pilot.app.screen.selected  # type: ignore[attr-defined]
        assert selected is not None and selected.id == "sft-0003"

    drive(world.app(), scenario)


@pytest.mark.presses("help", "palette")
def test_help_and_palette_are_made_of_the_same_table(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        await pilot.press("question_mark")
        await shows(pilot, *(entry.text for entry in of_scope("charts", "run", "everywhere")), "asks first")
        await pilot.press("escape", "colon")
        twins = ("engine metrics sft-0001", "engine logs sft-0001 --follow", "engine samples sft-0001", "engine stop")
        await shows(pilot, *twins)
        await pilot.press(*"elapsed", "down", "up", "enter")
        await until(pilot, lambda: said(pilot) == "x axis: tokens")

    drive(world.app(experiment=running), scenario, (120, 80))
