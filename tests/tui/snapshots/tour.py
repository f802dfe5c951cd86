"""A tour of the program over the generated experiments: every screen, and what lies over them, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Input

from tests.tui.snapshots.picture import picture
from tests.tui.world import screen_text
from tui.app import PlumblineApp
from tui.intents import Intents
from tui.screens.launch import LaunchScreen
from tui.screens.recipes import RecipesScreen
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.widgets.log_view import LogView
from tui.widgets.status_line import StatusLine

Look = Callable[[Pilot[None], str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing to see. It begins on the Runs screen, with the cursor at the top.

    keys: lead there; "~TEXT" waits until that stands on the screen. shows: stands there when all is read.
    opens: the experiment that is opened first. back: keys that undo, on the Runs screen. once: seen in one tour.
    """

    name: str
    keys: tuple[str, ...]
    shows: str
    opens: str = ""
    back: tuple[str, ...] = ()
    once: bool = False


_POLICIES = ("slash", *"kind:ppo -state:queued", "~4 of 17", "enter", "ctrl+a", "G", "b", "3")
_EVALUATIONS = ("slash", *"kind:eval", "~4 of 17", "enter", "ctrl+a", "G", "b", "3")
STOPS = (
    Stop("runs", ("down", "down", "down"), "wiki-e5"),
    Stop(
        "runs-grouped",
        ("O", "~group by", "down", "enter"),
        "by kind",
        back=("O", "~group by", "up", "enter"),
        once=True,
    ),
    Stop("runs-filter", ("slash", *"kind:ppo ste"), "steps done", once=True),
    Stop("runs-none", ("slash", *"kind:lora", "enter"), "No run matches", once=True),
    Stop("run-sft", (), "loss", "sft-0003", once=True),
    Stop("run-rm", (), "accuracy", "rm-0001", once=True),
    Stop("run-ppo", (), "score", "ppo-0004"),
    Stop("run-ppo-crosshair", ("~kl", "i", "left", "left"), "crosshair at", "ppo-0004", once=True),
    Stop("run-ppo-samples", ("~crosshair at", "i", "s"), "response", "ppo-0004", once=True),  # it is as it was left
    Stop("run-ppo-failed", (), "score", "ppo-0002", once=True),
    Stop("run-rag", (), "chunks_per_second", "rag-0002", once=True),
    Stop("run-eval", (), "hallucinated", "eval-0004"),
    Stop("compare-curves", (*_POLICIES, "c"), "score"),
    Stop("compare-reward-kl", (*_POLICIES, "p"), "score", once=True),
    Stop("compare-spec", (*_POLICIES, "d"), "train.lr", once=True),
    Stop("compare-metrics", (*_POLICIES, "m"), "hallucinated", once=True),
    Stop("compare-samples", (*_POLICIES, "s"), "By which trade"),
    Stop("compare-answers", (*_EVALUATIONS, "a"), "hallucinated"),
    Stop("compare-empty", ("3",), "baseline", once=True),
    Stop("queue", ("4",), "longer-context"),
    Stop("recipes", ("n",), "tiny.yaml"),
    Stop("launch", ("n", "~tiny.yaml", "enter"), "fields, none changed"),
    Stop(
        "launch-edit",
        ("n", "~tiny.yaml", "enter", "~fields, none changed", "down", "down", "enter"),
        "take back",
        once=True,
    ),
    Stop("cluster", ("5",), "n7"),
    Stop("index", ("6",), "wiki-e5"),
    Stop("help", ("question_mark",), "esc closes"),
    Stop("palette", ("colon",), "engine show"),
    Stop("menu", ("o",), "order", once=True),
    Stop("confirm", ("down", "down", "I"), "checkpoint"),
)


def tour(database: Path, size: tuple[int, int], look: Look, *, whole: bool) -> None:
    """Run the program once, go to all the stops, and let `look` see each. whole: those that are `once`, too."""
    hostfile = database.parent / "hostfiles" / "eight-nodes"
    app = PlumblineApp(database, hostfiles=(hostfile,), intents=Intents(database, wake=lambda path: None))

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await _shows(pilot, "17 runs")
            for stop in (stop for stop in STOPS if whole or not stop.once):
                if stop.opens:
                    app.open_run(stop.opens)
                    await _until(pilot, lambda: isinstance(app.screen, RunScreen))
                await _press(pilot, stop.keys)
                await _shows(pilot, stop.shows)
                await look(pilot, stop.name)
                await _home(pilot)
                await _press(pilot, stop.back)

    asyncio.run(run())


async def settled(pilot: Pilot[None], still: float = 2.0, wanted: str | None = None) -> str:
    """Return the picture of the screen once it is the wanted one, or has not changed for so many seconds."""
    seen, since = _calm_picture(pilot), time.monotonic()
    while seen != wanted and time.monotonic() - since < still:
        await pilot.pause(0.2)
        now = _calm_picture(pilot)
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


async def _until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until something holds, with fewer looks than a test of one screen takes."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, screen_text(pilot.app.screen)
        await pilot.pause(0.15)


async def _shows(pilot: Pilot[None], text: str) -> None:
    await _until(pilot, lambda: text in screen_text(pilot.app.screen))


async def _press(pilot: Pilot[None], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key.startswith("~"):
            await _shows(pilot, key[1:])
        else:
            await pilot.press(key)


def _calm_picture(pilot: Pilot[None]) -> str:
    """Return the picture without what comes and goes: cursors that blink, sentences for some seconds, a log's thumb."""
    screen = pilot.app.screen
    for line in screen.query(Input):
        line.cursor_blink = False
    for line in screen.query(StatusLine):
        line.silence()
    for log in screen.query(LogView):
        log.vertical_scrollbar.window_virtual_size = 0
    return picture(screen)


async def _home(pilot: Pilot[None]) -> None:
    """Go back to the Runs screen, without filter, marks and baseline."""
    app = pilot.app
    assert isinstance(app, PlumblineApp)
    while not isinstance(app.screen, RunsScreen):
        if app.screen.is_modal or isinstance(app.screen, RecipesScreen | LaunchScreen):
            await pilot.press("escape")
            await pilot.pause(0.05)
        else:
            app.action_go("runs")
            await pilot.pause()
    app.marks.clear()
    app.marks.baseline = None
    await pilot.press(*("escape",) * 4)
    await _until(pilot, lambda: "17 runs" in screen_text(app.screen) and "sft-0005" in screen_text(app.screen))
    await pilot.press("g")
