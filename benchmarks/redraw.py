"""CPU time of one redraw of six charts on a 160x48 screen, one point new. Target: 25 ms at 100,000 points each."""

from __future__ import annotations

import resource
import time

import numpy as np
from machine import describe

from engine.telemetry.axis import Scale
from tui.canvas.frame import changed_spans
from tui.canvas.plot import draw
from tui.run.curves import Curve, Curves
from tui.run.panels import View, panels, plot

NAMES = ("loss", "lr", "grad_norm", "tokens_per_second", "seconds_per_step", "memory_bytes")
CHART = (53, 22)  # cells: three by two on 160x48, less the lines above and below
REPEATS = 15


def curves(points: int, noise: np.random.Generator) -> Curves:
    """Six series of random walks."""
    steps = np.arange(1, points + 1)
    attempt = np.ones(points, np.int64)
    return Curves(
        {name: Curve(attempt, steps, steps.astype(float), 50 + noise.normal(0, 0.1, points).cumsum()) for name in NAMES}
    )


def grown(known: Curves, noise: np.random.Generator) -> Curves:
    """The same curves with one more point each."""
    series = {}
    for name, curve in known.series.items():
        step = int(curve.step[-1]) + 1
        series[name] = curve + Curve.of([1], [step], [float(step)], [float(curve.value[-1] + noise.normal())])
    return Curves(series)


def measure(points: int) -> tuple[float, float]:
    """Return the median CPU seconds of a redraw, and the mean number of cells that it repaints."""
    noise = np.random.default_rng(points)
    view, known = View(), curves(points, noise)
    shown = panels("sft", known.series)[:6]
    frames = [draw(plot(panel, known, view, Scale.LINEAR), *CHART) for panel in shown]
    seconds, cells = [], 0
    for _ in range(REPEATS):
        known = grown(known, noise)
        began = time.process_time()
        for index, panel in enumerate(shown):
            frame = draw(plot(panel, known, view, Scale.LINEAR), *CHART)
            cells += sum(stop - start for _, start, stop in changed_spans(frames[index], frame))
            frames[index] = frame
        seconds.append(time.process_time() - began)
    return float(np.median(seconds)), cells / REPEATS


def main() -> None:
    """Print the table."""
    print(describe(f"numpy {np.__version__}"))
    print(f"six charts of {CHART[0]}x{CHART[1]} cells, one new point each, smoothing 0.6")
    print(f"{'points a series':>16}  {'CPU ms a redraw':>16}  {'cells repainted':>16}")
    measure(1_000)
    for points in (1_000, 10_000, 100_000):
        seconds, cells = measure(points)
        print(f"{points:>16,}  {seconds * 1000:>16.1f}  {cells:>16.0f}")
    print(f"largest memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
