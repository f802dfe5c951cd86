"""What a policy pays for its reward: score against divergence from the reference, over the steps of PPO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.telemetry.metrics import unit_of
from engine.telemetry.numbers import exact, short
from tui.canvas.charset import current
from tui.canvas.frame import Ink, Span, line_ink
from tui.canvas.phase import Path, PhasePlot
from tui.comparison.reading import ComparedRun

X, Y = "kl", "score"
NEEDED = (X, Y)
_FEW = 20  # points; that many are not smoothed
NO_RUNS = "None of these runs is a PPO run with score and KL: only those have this plot."


def phase_path(run: ComparedRun, smoothing: float = 0.0) -> Path | None:
    """Return the path of a run over the steps at which both were measured; null if it measured none.

    Of long runs, over those of these steps that are kept. smoothing: weight, 0 or one of `smoothing.WEIGHTS`.
    """
    x, y = (run.curves.series.get(name) for name in NEEDED)
    if x is None or y is None:
        return None
    steps, of_x, of_y = np.intersect1d(x.step, y.step, return_indices=True)
    finite = np.isfinite(x.value[of_x]) & np.isfinite(y.value[of_y])
    if not finite.any():
        return None
    steps, of_x, of_y = steps[finite], of_x[finite], of_y[finite]
    smooth = smoothing > 0 and steps.size > _FEW
    averages = (x.smoothed(smoothing)[of_x], y.smoothed(smoothing)[of_y]) if smooth else None
    return Path(run.letter, x.value[of_x], y.value[of_y], steps, run.place, averages)


def phase_plot(runs: Sequence[ComparedRun], smoothing: float, at_step: int | None) -> PhasePlot:
    """Return the chart. at_step: where each path has a mark; null: at its end."""
    paths = [path for run in runs if (path := phase_path(run, smoothing)) is not None]
    targets = {run.kl_target for run in runs if run.kl_target is not None}
    level = targets.pop() if len(targets) == 1 else None
    title: list[Span] = [
        (Y, Ink.NAME),
        (" against ", Ink.ASIDE),
        ("KL to the reference", Ink.NAME),
        (f" {unit_of(X)}", Ink.ASIDE),
    ]
    title += [(f"  {current().crosshair} target {short(level)}", Ink.MARK)] if level is not None else []
    for path in paths:
        at = _place(path, at_step)
        told = f"{path.letter} {short(float(path.y[at]))} at {short(float(path.x[at]))}"
        title.append((f"  {current().markers[path.color]}{told}", line_ink(path.color)))
    return PhasePlot(paths, title, X, level, at_step, NO_RUNS if not _of_ppo(runs) else "no points yet")


def phase_steps(runs: Sequence[ComparedRun]) -> list[int]:
    """Return all steps at which a path has a point, ascending."""
    paths = [path for run in runs if (path := phase_path(run)) is not None]
    return sorted({int(step) for path in paths for step in path.step.tolist()})


def phase_values(run: ComparedRun, at_step: int | None) -> str:
    """Return score and KL of a run at a step in all their digits; empty if it has none."""
    path = phase_path(run)
    if path is None:
        return ""
    at = _place(path, at_step)
    return f"{exact(float(path.y[at]))}  KL {exact(float(path.x[at]))}"


def _place(path: Path, at_step: int | None) -> int:
    return path.step.size - 1 if at_step is None else int(np.abs(path.step - at_step).argmin())


def _of_ppo(runs: Sequence[ComparedRun]) -> bool:
    return any(set(NEEDED) <= set(run.names) for run in runs)
