"""The panes below the charts, the mouse over these, and what can be taken out of a run, over a real database."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import pytest
from textual.events import MouseDown, MouseMove, MouseUp
from textual.pilot import Pilot

from engine.store import bookkeeping, experiments
from engine.store.inputs import Input
from engine.telemetry.records import MetricsRecord
from engine.telemetry.states import State
from tests.tui.screens.run_screen import grid, said, screen
from tests.tui.world import World, drive, screen_text, shows, until
from tui.screens.menu import MenuScreen
from tui.screens.run import RunScreen
from tui.widgets.chart import Chart
from tui.widgets.log_view import LogView


@pytest.mark.presses("spec", "lineage")
def test_spec_and_lineage_are_shown_and_walked(world: World) -> None:
    base = world.add("base")
    world.begin(base)
    world.end(base, State.SUCCEEDED)
    taken = Input("${base.model}", "/runs/base/export", base, "model", None, 100)
    child = world.add("child", lr=5e-4, parent_id=base, inputs=[taken])

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "○ queued")
        await pilot.press("S")
        await shows(pilot, f"1 key differs from {base}", "train.lr  5e-4  ← 0.001", "kind: sft")
        await pilot.press("L")
        await shows(pilot, "made from", f"└─ {base}", "model, its settings", "this run")
        await pilot.press("enter")
        await shows(pilot, f"{base}  base", "this run", "made from it", f"└─ {child}", "✔ succeeded")
        await pilot.press("enter")
        await shows(pilot, f"{child}  child")
        bookkeeping.delete(world.store, base)
        await shows(pilot, "It was made from no other run")

    drive(world.app(experiment=child), scenario)


@pytest.mark.presses(
    "log",
    "log-all",
    "log-range-1",
    "log-range-2",
    "log-range-3",
    "log-range-4",
    "log-range-5",
    "log-wrap",
    "log-times",
    "log-levels",
    "log-mark",
)
def test_the_log_is_narrowed_wrapped_timed_and_marked_by_its_own_keys(world: World, running: str) -> None:
    began = time.time() - 4000
    records = [MetricsRecord(began + 100 * step, 1, 40 + step, {"loss": 1.0}) for step in range(1, 41)]
    world.ingest(running, "metrics.jsonl", records)
    world.log(running, b"".join(b"step %d/100  loss 1.0\n" % (40 + step) for step in range(1, 41)))
    world.log(running, b"a warning\nan error\n" + b"x" * 150 + b"end\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "an error", "step 80/100", "1 of 1 logs warn")
        log = screen(pilot).query_one(LogView)
        assert "! a warning" in screen_text(pilot.app.screen) and "✖ an error" in screen_text(pilot.app.screen)
        await pilot.press("w")
        assert not log.wraps, "its keys are its own only while it has the focus"
        await pilot.press("l", "w")
        await shows(pilot, "xxend", "wrapped")
        await pilot.press("2")
        await shows(pilot, "last 5 min")
        assert isinstance(pilot.app.screen, RunScreen), "digits do not switch screens here"
        assert [log.lines[log._rows.row(n).line][:11] for n in range(4)] == [f"step {n}/100" for n in (77, 78, 79, 80)]
        for key, first, told in (("1", 80, "last 1 min"), ("3", 71, "last 15 min"), ("4", 62, "last 30 min")):
            await pilot.press(key)
            await shows(pilot, told)
            assert log.lines[log._rows.row(0).line].startswith(f"step {first}/100")
        await pilot.press("5")
        await shows(pilot, "last hour")
        assert log.lines[log._rows.row(0).line].startswith("step 44/100")
        await pilot.press("T")
        await shows(pilot, time.strftime("%H:%M:%S", time.localtime(began + 4000)))
        await pilot.press("W")
        await shows(pilot, "warnings and errors")
        assert len(log._rows) == 2
        await pilot.press("W", "W", "0", "T", "w")
        await pilot.press("M")
        await shows(pilot, "── marked ")
        world.log(running, b"after the mark\n")
        await shows(pilot, "after the mark")
        text = screen_text(pilot.app.screen)
        assert text.index("── marked ") < text.index("after the mark")

    drive(world.app(experiment=running), scenario)


@pytest.mark.presses("rank")
def test_a_log_without_any_time_says_so_and_of_many_ranks_one_is_chosen(world: World, running: str) -> None:
    for rank in range(3):
        world.log(running, b"hello of rank %d\n" % rank, node=rank % 2, rank=rank)
    world.log(running, b"warning: slow\n", node=0, rank=2)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "hello of rank 0", "1 of 3 logs warn")
        await pilot.press("l", "1")
        await until(pilot, lambda: "No line of this log tells when" in said(pilot))
        await pilot.press("r")
        await shows(pilot, "n1 rank 2", "1 warning")
        assert isinstance(pilot.app.screen, MenuScreen)
        await pilot.press("j", "enter")
        await shows(pilot, "warning: slow", "n1 · rank 2")

    drive(world.app(experiment=running), scenario)


def test_a_zoomed_window_is_dragged_and_a_drag_is_no_click(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        charts = grid(pilot)
        first = charts.charts[0]

        async def drag(start: int, stop: int) -> None:
            for make, x in ((MouseDown, start), (MouseMove, stop), (MouseUp, stop)):
                first.post_message(make(first, x, 5, 0, 0, 1, False, False, False))
                await pilot.pause()

        await drag(30, 20)
        await until(pilot, lambda: said(pilot).startswith("Everything is shown: the wheel"))
        await pilot.press("plus")
        assert charts.view.window == (20.5, 40)
        await drag(10, 10 + first.frame.columns // 2)
        await until(pilot, lambda: charts.view.window is not None and charts.view.window[0] < 12)
        low, high = charts.view.window or (0, 0)
        assert high - low == 19.5 and charts.view.crosshair is None
        await pilot.press("i")
        await drag(first.frame.left + first.frame.columns - 1, first.frame.left)
        await until(pilot, lambda: charts.view.crosshair is not None and charts.view.crosshair < low + 1)

    drive(world.app(experiment=running), scenario)


@pytest.mark.presses("export", "copy")
def test_curves_are_written_into_files_of_the_working_folder(
    world: World, running: str, tmp_path: Path, pages: list[list[str]]
) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 40/100")
        await until(pilot, lambda: isinstance(pilot.app.focused, Chart))
        for key, name in (("c", f"{running}-loss.csv"), ("s", f"{running}-loss.svg"), ("J", f"{running}-metrics.json")):
            await pilot.press("e")
            await shows(pilot, "loss as CSV", f"{running}-loss.svg", "5 series, 200 points")
            await pilot.press(key)
            await until(pilot, lambda name=name: said(pilot) == f"Wrote {tmp_path / name}.")  # type: ignore[misc]
        await pilot.press("e", "c")
        await until(pilot, lambda: said(pilot) == f"Wrote {tmp_path / f'{running}-loss-2.csv'}.")
        await pilot.press("e", "h")
        await until(pilot, lambda: said(pilot) == f"Wrote {tmp_path / f'{running}.html'}.")
        await pilot.press("i", "left", "y")
        await shows(pilot, "loss under the crosshair")
        await pilot.press("v")
        await until(pilot, lambda: pilot.app.clipboard == "0.05128205")

    drive(world.app(experiment=running), scenario)
    with (tmp_path / f"{running}-loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40 and rows[39]["step"] == "40" and float(rows[39]["value"]) == 2 / 40
    points = json.loads((tmp_path / f"{running}-metrics.json").read_text())
    assert len(points) == 200 and {point["name"] for point in points} >= {"loss", "lr", "tokens"}
    assert (tmp_path / f"{running}-loss.svg").read_text().startswith("<svg ")
    assert pages == [[running]]


def test_the_local_time_axis_tells_the_day_and_breaks_where_a_run_paused(world: World, running: str) -> None:
    world.end(running, State.LOST)
    experiments.resume(world.store, running)
    world.begin(running, resumed=40)
    later = time.time() + 7200
    world.ingest(running, "metrics.jsonl", [MetricsRecord(later + s, 2, 40 + s, {"loss": 1.0}) for s in range(1, 9)])

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "step 48/100")
        await pilot.press("x", "x", "x", "x", "enter")
        day = time.localtime(later)
        await shows(pilot, f"x local time, {day.tm_mday} {time.strftime('%b', day)}")
        frame = grid(pilot).charts[0].frame
        middle = frame.glyphs[frame.top : frame.top + frame.rows, frame.left + 20 : frame.left + frame.columns - 20]
        assert set(middle.ravel()) == {" "}, "nothing was measured in the pause"
        await pilot.press("i")
        await shows(pilot, f"crosshair at step 48, {time.strftime('%H:%M:%S', time.localtime(later + 8))}")

    drive(world.app(experiment=running), scenario)
