"""Six charts of textual-plotext: the CPU of a redraw when each series has one point more. Needs textual-plotext alone.

python plotext_charts.py RESULTS      in a terminal; writes JSON {points: [CPU seconds, …]}
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import time
from pathlib import Path

from textual.app import App, ComposeResult
from textual.containers import Grid
from textual_plotext import PlotextPlot

REPEATS = {1_000: 5, 10_000: 3, 100_000: 2}


class SixCharts(App[None]):
    """Six charts, three beside each other, which redraw themselves and leave."""

    CSS = "Grid { grid-size: 3 2; }"

    def compose(self) -> ComposeResult:
        with Grid():
            for _ in range(6):
                yield PlotextPlot()

    def on_mount(self) -> None:
        self.run_worker(self._measure())

    async def _measure(self) -> None:
        found: dict[int, list[float]] = {}
        noise = random.Random(0)
        await asyncio.sleep(0.5)
        for points, repeats in REPEATS.items():
            values = [
                [2 / (1 + step * 0.003) + 0.2 * noise.random() + math.sin(number) for step in range(points)]
                for number in range(6)
            ]
            for turn in range(repeats + 1):
                began = time.process_time()
                for chart, series in zip(self.query(PlotextPlot), values, strict=True):
                    chart.plt.clear_data()
                    chart.plt.plot(range(len(series)), series, marker="braille")
                    chart.refresh()
                painted = asyncio.Event()
                self.screen.call_after_refresh(painted.set)
                await painted.wait()
                await asyncio.sleep(0.05)
                if turn:
                    found.setdefault(points, []).append(time.process_time() - began)
                for series in values:
                    series.append(noise.random())
        Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
        self.exit()


if __name__ == "__main__":
    SixCharts().run()
