"""What the Run screen shows, over a real database."""

from __future__ import annotations

import math
import time

import pytest
from textual.pilot import Pilot

from engine.store import attempts, bookkeeping, experiments
from engine.telemetry.records import Level
from engine.telemetry.states import State
from tests.tui.screens.run_screen import grid, said, screen, steps
from tests.tui.world import HOSTILE, World, drive, screen_text, shows, until
from tui.screens.runs import RunsScreen
from tui.screens.small import TooSmallScreen
from tui.widgets.chart import Chart
from tui.widgets.log_view import LogView


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
        await pilot.press("v")
        assert "There is no chart yet." in said(pilot), "the empty chart has the focus"
        await pilot.press("x", "plus", "minus", "i", "left", "full_stop", "pagedown", "0")
        await shows(pilot, "no points yet: it is queued")
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


@pytest.mark.presses("search", "next-match", "previous-match", "follow", "rank")
def test_a_hostile_log_is_shown_searched_and_never_obeyed(world: World, running: str) -> None:
    world.log(running, b"\x1b]0;evil\x07first\n" + HOSTILE.encode() + b"\n\xff\xfe\n")
    world.log(running, b"".join(b"line %d of rank 0\n" % number for number in range(300)))
    world.log(running, b"error of rank 1\n", node=1, rank=1)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "line 299 of rank 0", "n1 · rank 0 · following", "r other ranks")
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


@pytest.mark.presses("samples", "events")
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
        pilot.app.screen.set_focus(None)  # as when the focus was to be given before there was a chart
        await pilot.resize_terminal(79, 24)
        await until(pilot, lambda: isinstance(pilot.app.screen.focused, Chart))
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


def test_a_deleted_run_is_told_and_left(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        await shows(pilot, "no log yet")
        world.end(running, State.STOPPED)
        await shows(pilot, "the run left no log here")
        bookkeeping.delete(world.store, running)
        await shows(pilot, f"there is no experiment {running}")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))

    drive(world.app(experiment=running), scenario)
