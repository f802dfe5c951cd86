"""`plumbline` on its Run screen: how much CPU a redraw of six charts takes when each series has one point more.

python -m terminal.six_charts DATABASE ID RESULTS      in a terminal; writes JSON {points: [CPU seconds, …]}

A redraw is all that is done with points once they are out of the database: they join their series, and the screen
shows what it knows (header, titles, charts, panes, status line), to the last byte that goes to the terminal.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.store.point_arrays import PointArrays, fresh
from tui.app import PlumblineApp
from tui.run.tracks import Tracks
from tui.screens.run import RunScreen

SIZES = (1_000, 10_000, 100_000)
REPEATS = 12


async def measure(app: PlumblineApp, results: Path) -> None:
    """Redraw again and again, write what that took, and leave."""
    while not (isinstance(screen := app.screen, RunScreen) and screen.facts is not None):
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # what comes after the first frame is not a redraw
    facts, noise, found = screen.facts, np.random.default_rng(0), {}
    whole = dict(fresh(app.store, screen.experiment_id, {}))
    for points in SIZES:
        tracks = Tracks()
        for name, series in whole.items():
            tracks.extend(name, _part(series, slice(points)))
        newest = {name: _part(series, slice(points - 1, points)) for name, series in whole.items()}
        for turn in range(REPEATS + 1):
            began = time.process_time()
            newest = {name: _next(last, noise) for name, last in newest.items()}
            for name, point in newest.items():
                tracks.extend(name, point)
            screen._show(grown := replace(facts, curves=tracks.curves()))
            if screen._charts_behind:  # a redraw that the line to the terminal would have made wait
                screen._draw(grown)
            await _painted(screen)
            assert screen._charts.curves is grown.curves
            if turn:  # the first one puts other curves into place
                found.setdefault(points, []).append(time.process_time() - began)
    results.write_text(json.dumps(found), encoding="utf-8")
    app.exit()


async def _painted(screen: RunScreen) -> None:
    drawn = False
    while not drawn:  # some charts are drawn after others were painted
        drawn, painted = screen._charts.is_drawn, asyncio.Event()
        screen.call_after_refresh(painted.set)
        await painted.wait()
    await asyncio.sleep(0.05)  # for the thread that writes to the terminal


def _part(series: PointArrays, chosen: slice) -> PointArrays:
    return PointArrays(series.attempt[chosen], series.step[chosen], series.time[chosen], series.value[chosen])


def _next(last: PointArrays, noise: np.random.Generator) -> PointArrays:
    value = last.value + noise.normal(0, 0.1)
    return PointArrays(last.attempt, last.step + 1, last.time + 1, value)


def main() -> None:
    """Run the program, and the measurement within it."""
    app = PlumblineApp(Path(sys.argv[1]), experiment=sys.argv[2], readonly=True)
    app.run(auto_pilot=lambda pilot: measure(app, Path(sys.argv[3])))


if __name__ == "__main__":
    main()
