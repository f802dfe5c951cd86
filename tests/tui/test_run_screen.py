"""The Run screen over a real database, driven by keys and the mouse."""

from __future__ import annotations

import math
import time

import pytest
from textual.pilot import Pilot

from engine.store import attempts, bookkeeping, experiments
from engine.telemetry.records import Level
from engine.telemetry.states import Desired, State
from tests.tui.world import HOSTILE, World, drive, screen_text, shows, until
from tui.actions import of_scope
from tui.screens.confirm import ConfirmScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.screens.small import TooSmallScreen
from tui.widgets.chart import Chart
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.log_view import LogView
from tui.widgets.status_line import StatusLine


@pytest.fixture
def running(world: World) -> str:
    """An experiment that has taken 40 of 100 steps on two nodes."""
    identity = world.add("one")
    world.begin(identity, hosts=("n1", "n2"))
    world.train(identity, range(1, 41), lr=1e-3, grad_norm=1.0, tokens=5.0)
    return identity


def screen(pilot: Pilot[None]) -> RunScreen:
    """The Run screen, whatever stands on top of it."""
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, RunScreen))


def grid(pilot: Pilot[None]) -> ChartGrid:
    return screen(pilot).query_one(ChartGrid)


def said(pilot: Pilot[None]) -> str:
    """What the status line says."""
    return screen(pilot).query_one(StatusLine).sentence


def steps(pilot: Pilot[None], name: str = "loss") -> list[int]:
    """The steps of the points that are drawn."""
    curve = grid(pilot).curves.series.get(name)
    return [] if curve is None else curve.step.tolist()


def test_a_curve_grows_while_it_is_watched_without_gap_or_double(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "● running", "step 40/100", "40%", "12k tok/s", "loss 0.05", "lr", "grad_norm")
        for last in (41, 42, 50, 99):
            world.train(running, range(steps(pilot)[-1] + 1, last + 1), lr=1e-3, grad_norm=1.0)
            await shows(pilot, f"step {last}/100")
            assert steps(pilot) == list(range(1, last + 1))
        world.train(running, [100], loss=lambda step: math.nan)
        await shows(pilot, "loss nan", "✕", "loss is no finite number since step 100. K stops it")
        world.end(running, State.SUCCEEDED)
        await shows(pilot, "✔ succeeded", "ended")

    drive(world.app(experiment=running), scenario)


def test_what_a_resumed_attempt_does_again_is_drawn_once(world: World, running: str) -> None:
    world.checkpoint(running, 20)
    world.checkpoint(running, 30)
    world.end(running, State.LOST, "n2 was not heard for 600 s")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "? lost", "n2 was not heard for 600 s. R resumes it from the checkpoint of step 30.", "⚑ 30")
        experiments.resume(world.store, running)
        world.begin(running, resumed=20, hosts=("n1", "n2"))
        world.train(running, range(21, 26), loss=lambda step: 7.0, attempt=2)
        await shows(pilot, "● running", "step 25/100", "attempt 2", "↻", "⚑ 20")
        assert steps(pilot) == list(range(1, 26))
        assert grid(pilot).curves.series["loss"].value[19:].tolist() == [0.1, 7, 7, 7, 7, 7]

    drive(world.app(experiment=running), scenario)


def test_a_run_that_waits_says_why_and_starts_before_ones_eyes(world: World) -> None:
    identity = world.add("one")
    experiments.set_state(world.store, identity, State.QUEUED, reason="waits for 8 slots: 2 of 16 are free")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(
            pilot, "○ queued", "waits for 8 slots: 2 of 16 are free.", "no points yet: it is queued", "no log yet"
        )
        await pilot.press("i")
        await until(pilot, lambda: "no points to inspect" in said(pilot))
        world.begin(identity)
        world.train(identity, range(1, 4))
        world.log(identity, b"hello\n")
        await shows(pilot, "● running", "step 3/100", "hello")

    drive(world.app(experiment=identity), scenario)


def test_lost_contact_is_told_above_the_charts_and_taken_back(world: World, running: str) -> None:
    attempts.hear(world.store, running, 1, 0, "n1", heard_at=time.time(), message=None)
    attempts.hear(world.store, running, 1, 1, "n2", heard_at=time.time() - 3605, message="connection timed out")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "n2 silent 1h00 (connection timed out), reconnecting — values below are old.")
        attempts.hear(world.store, running, 1, 1, "n2", heard_at=time.time(), message=None)
        await until(pilot, lambda: "reconnecting" not in screen_text(screen(pilot)))

    drive(world.app(experiment=running), scenario)


def test_what_health_rules_find_is_told_above_the_charts_and_in_the_events(world: World) -> None:
    identity = world.add_ppo("one", kl_target=6.0)
    world.begin(identity)
    finding = "KL is 7.5 nats per sequence on average at steps 5–14."
    data = {"rule": "kl_over_limit", "action": "rollback", "since": 5}
    world.train(identity, range(1, 15), score=0.5, kl=7.5)
    world.tell(identity, "health", finding, step=14, level=Level.ERROR, **data)
    world.tell(identity, "rolled_back", "Rolled back to step 4.", step=14, level=Level.WARNING, to_step=4)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, f"Step 14: {finding} Rolled back to step 4.", "target 6", "↶")
        world.train(identity, range(15, 66), score=0.5, kl=7.5)
        await until(pilot, lambda: "Step 14:" not in screen_text(screen(pilot)))
        world.tell(identity, "health", "Entropy is 0.", step=65, level=Level.ERROR, rule="collapse")
        await shows(pilot, "Step 65: Entropy is 0.")
        world.tell(identity, "paused", "Stopped at step 65 by a health rule.", step=65)
        world.end(identity, State.STOPPED, "stopped at a checkpoint")
        await shows(pilot, "Paused at step 65: Entropy is 0. R resumes it.")
        await pilot.press("exclamation_mark")
        await shows(pilot, "✖ Entropy is 0.", "! Rolled back to step 4.", f"✖ {finding}", "by a health rule")
        experiments.resume(world.store, identity)
        world.begin(identity, resumed=65)
        await until(pilot, lambda: "Paused at" not in screen_text(screen(pilot)))

    drive(world.app(experiment=identity), scenario)


def test_a_hostile_log_is_shown_searched_and_never_obeyed(world: World, running: str) -> None:
    world.log(running, b"\x1b]0;evil\x07first\n" + HOSTILE.encode() + b"\n\xff\xfe\n")
    world.log(running, b"".join(b"line %d of rank 0\n" % number for number in range(300)))
    world.log(running, b"error of rank 1\n", node=1, rank=1)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "line 299 of rank 0", "n1 · rank 0 · following", "r next rank")
        log = screen(pilot).query_one(LogView)
        world.log(running, b"line 300 of rank 0\n")
        await shows(pilot, "line 300 of rank 0")
        await pilot.press("slash", *"red]gone", "enter")
        await shows(pilot, "[red]gone[/red] ‹202E›‹07›", "1/1 lines match", "f follows")
        shown = screen_text(pilot.app.screen)
        assert all(line.isprintable() for line in shown.splitlines()) and "evil" not in shown
        assert not log.following
        await pilot.press("slash", *["backspace"] * 8, *"line 29", "enter")
        await shows(pilot, "line 299 of rank 0", "11/11 lines match")
        await pilot.press("N", "N")
        await shows(pilot, "9/11 lines match")
        await pilot.press("n")
        await shows(pilot, "10/11 lines match")
        await pilot.press("f")
        await shows(pilot, "line 300 of rank 0", "following")
        await pilot.press("r")
        await shows(pilot, "error of rank 1", "n2 · rank 1")
        await pilot.press("r")
        await shows(pilot, "line 300 of rank 0", "n1 · rank 0")
        await pilot.press("g")
        await shows(pilot, "first")

    drive(world.app(experiment=running), scenario)


def test_stopping_killing_and_resuming_ask_with_the_same_words_as_in_the_list(world: World, running: str) -> None:
    world.checkpoint(running, 30)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        await pilot.press("K")
        await shows(pilot, "Kill sft-0001 (one)?", "10 steps are lost", "$ engine stop sft-0001 --now")
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ConfirmScreen))
        assert isinstance(pilot.app.screen, RunScreen) and not world.woken
        await pilot.press("I", "y")
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
        await until(pilot, lambda: pilot.app.clipboard == running)

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


def test_axes_smoothing_zoom_and_pages_answer_to_their_keys(world: World, running: str) -> None:
    world.train(running, range(41, 51), tokens=9.0, **{f"extra_{number}": 1.0 for number in range(4)})

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 50/100", "charts 1/2: pgdn", "x step", "smoothing 0.6")
        charts = grid(pilot)
        await pilot.press("x")
        await until(pilot, lambda: said(pilot) == "x axis: tokens")
        await pilot.press("x")
        await until(pilot, lambda: said(pilot) == "x axis: elapsed")
        await pilot.press("x", "full_stop", "full_stop", "comma")
        await until(pilot, lambda: charts.view.smoothing == 0.8)
        await pilot.press("v")
        await until(pilot, lambda: "y axis of loss: log" in said(pilot))
        assert "log" in charts.charts[0].frame.text() and "log" not in charts.charts[1].frame.text()
        await pilot.press("left")
        await until(pilot, lambda: said(pilot).startswith("Everything is shown"))
        await pilot.press("plus", "left", "minus", "minus")
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


def test_samples_and_events_can_be_read(world: World, running: str) -> None:
    world.sample(running, 20, "Who wrote it?", "Nobody knows.\nTruly.", "George Eliot.")
    world.sample(running, 40, f"What is it? {HOSTILE}", "A  novel.", "A novel.")
    world.checkpoint(running, 40)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        await pilot.press("s")
        await shows(pilot, "step 40  1 sample", "response ✔  A  novel.", "[red]gone[/red]", "exact 0.5")
        await shows(pilot, "step 20  1 sample", "Nobody knows.", "Truly.", "reference   George Eliot.")
        shown = screen_text(pilot.app.screen).splitlines()
        places = [next(at for at, line in enumerate(shown) if text in line) for text in ("step 40  1", "step 20  1")]
        assert places == sorted(places), "newest first"
        world.sample(running, 41, "And now?", "Something new.")
        await shows(pilot, "step 41  1 sample", "Something new.")
        await pilot.press("exclamation_mark")
        await shows(pilot, "checkpoint of step 40 is complete")
        world.checkpoint(running, 44)
        await shows(pilot, "checkpoint of step 44 is complete")

    drive(world.app(experiment=running), scenario, (120, 60))


def test_narrow_and_small_terminals_show_one_thing_at_a_time(world: World, running: str) -> None:
    world.log(running, b"the log\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "● running", "step 40/100", "data", "loss", "lr", "⏎ maximise", "esc back", "q quit")
        assert "the log" not in screen_text(pilot.app.screen)
        await pilot.press("l")
        await shows(pilot, "the log", "step 40/100")
        assert "grad_norm" not in screen_text(pilot.app.screen)
        await pilot.press("escape")
        await shows(pilot, "loss", "lr")
        await pilot.resize_terminal(60, 15)
        await shows(pilot, "● running", "step 40/100", "loss", "esc back", "q quit")
        await pilot.press("pagedown")
        await shows(pilot, "lr")
        await pilot.resize_terminal(59, 15)
        await shows(pilot, "plumbline needs 60 columns and 15 lines")
        assert isinstance(pilot.app.screen, TooSmallScreen)
        world.train(running, [41])
        await pilot.resize_terminal(120, 40)
        await shows(pilot, "step 41/100", "loss", "lr", "the log")

    drive(world.app(experiment=running), scenario, (80, 24))


@pytest.mark.parametrize("size", [(120, 40), (100, 30), (80, 24), (60, 15)])
def test_nothing_is_wider_than_the_terminal(world: World, running: str, size: tuple[int, int]) -> None:
    bookkeeping.rename(world.store, running, "損失" * 60)
    attempts.hear(world.store, running, 1, 0, "n1" * 80, heard_at=time.time() - 99, message=HOSTILE * 20)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "● running", "silent")
        for key in ("i", "plus", "v", "v", "l", "s"):
            await pilot.press(key)
        await pilot.pause()
        strips = pilot.app.screen._compositor.render_strips()
        assert len(strips) == size[1] and {strip.cell_length for strip in strips} == {size[0]}

    drive(world.app(experiment=running), scenario, size)


def test_the_runs_of_the_filtered_list_are_walked_with_brackets(world: World) -> None:
    for name in ("alpha", "other", "alpine"):
        identity = world.add(name)
        world.begin(identity)
        world.train(identity, range(1, 3 + int(identity[-1])))

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0003")
        await pilot.press("slash", *"alp", "enter", "enter")
        await shows(pilot, "Run  sft-0003  alpine", "step 5/100")
        await pilot.press("right_square_bracket")
        await shows(pilot, "Run  sft-0001  alpha", "step 3/100")
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

    drive(world.app(experiment=running), scenario, (120, 60))


def test_a_deleted_run_is_told_and_left(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        world.end(running, State.STOPPED)
        bookkeeping.delete(world.store, running)
        await shows(pilot, f"there is no experiment {running}")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(experiment=running), scenario)
