"""`plumbline` on its Run screen: how much CPU a redraw of six charts takes when each series has one point more.

python -m terminal.six_charts DATABASE ID RESULTS      in a terminal; writes JSON {points: [CPU seconds, …]}

A redraw is all that the screen does with what was read (header, titles, charts, panes, status line), to the last byte
that goes to the terminal. What is read, and how long that takes, is another thread's.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tui.app import PlumblineApp
from tui.run.curves import Curve, Curves
from tui.screens.run import RunScreen

SIZES = (1_000, 10_000, 100_000)
REPEATS = 12


async def measure(app: PlumblineApp, results: Path) -> None:
    """Redraw again and again, write what that took, and leave."""
    while not (isinstance(screen := app.screen, RunScreen) and screen.facts is not None):
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)  # what comes after the first frame is not a redraw
    facts, noise, found = screen.facts, np.random.default_rng(0), {}
    for points in SIZES:
        known = {name: _first(curve, points) for name, curve in facts.curves.series.items()}
        for turn in range(REPEATS + 1):
            began = time.process_time()
            screen._show(grown := replace(facts, curves=Curves(known)))
            if screen._charts_behind:  # a redraw that the line to the terminal would have made wait
                screen._draw(grown)
            await _painted(screen)
            assert screen._charts.curves is grown.curves
            if turn:  # the first one puts other curves into place
                found.setdefault(points, []).append(time.process_time() - began)
            known = {name: _grown(curve, noise) for name, curve in known.items()}
    results.write_text(json.dumps(found), encoding="utf-8")
    app.exit()


async def _painted(screen: RunScreen) -> None:
    painted = asyncio.Event()
    screen.call_after_refresh(painted.set)
    await painted.wait()
    await asyncio.sleep(0.05)  # for the thread that writes to the terminal


def _first(curve: Curve, points: int) -> Curve:
    return Curve(*(part[:points] for part in (curve.attempt, curve.step, curve.time, curve.value)))


def _grown(curve: Curve, noise: np.random.Generator) -> Curve:
    step, value = int(curve.step[-1]) + 1, float(curve.value[-1] + noise.normal(0, 0.1))
    return curve + Curve.of([1], [step], [float(curve.time[-1]) + 1], [value])


def main() -> None:
    """Run the program, and the measurement within it."""
    app = PlumblineApp(Path(sys.argv[1]), experiment=sys.argv[2], readonly=True)
    app.run(auto_pilot=lambda pilot: measure(app, Path(sys.argv[3])))


if __name__ == "__main__":
    main()
