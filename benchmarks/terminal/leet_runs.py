"""Runs as wandb writes them, for LEET; needs wandb alone, so it runs in the environment of the other programs.

python leet_runs.py many FOLDER RUNS METRICS STEPS      one run written, and as many folders that hold the same one
python leet_runs.py long FOLDER METRICS STEPS           one long run
python leet_runs.py stream FOLDER RUNS METRICS          runs that log ten times a second until they are ended
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from pathlib import Path

import wandb

PERIOD = 0.1  # seconds


def begin(name: str) -> wandb.Run:
    """Begin a run that is written to the disk alone."""
    settings = wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, silent=True)
    return wandb.init(mode="offline", project="benchmark", name=name, settings=settings, reinit="create_new")


def metrics(step: int, count: int, place: int = 0) -> dict[str, float]:
    """Return what is logged at a step."""
    return {
        f"metric_{number}": 1.0 + 0.3 * math.sin(step / 40 + place + number) + 0.05 * math.sin(step * (number + 1.7))
        for number in range(count)
    }


def write(name: str, count: int, steps: int) -> None:
    """Write a run that has ended."""
    run = begin(name)
    for step in range(steps):
        run.log(metrics(step, count))
    run.finish()


def multiply(runs: int) -> None:
    """Put as many folders beside the one run, each with the same file under a name of its own."""
    (first,) = Path("wandb").glob("offline-run-*")
    (file,) = first.glob("*.wandb")
    for number in range(1, runs):
        identity = f"copy{number:04d}"
        folder = Path("wandb") / f"offline-run-20250101_{number:06d}-{identity}"
        folder.mkdir()
        os.link(file, folder / f"run-{identity}.wandb")
        if (first / "files").is_dir():
            shutil.copytree(first / "files", folder / "files")


def stream(runs: int, count: int) -> None:
    """Log for ever."""
    open_runs = [begin(f"live-{number}") for number in range(runs)]
    began, turn = time.monotonic(), 0
    while True:
        for place, run in enumerate(open_runs):
            run.log(metrics(turn, count, place))
        turn += 1
        if turn == 20:
            Path("streaming").touch()
        time.sleep(max(0.0, began + turn * PERIOD - time.monotonic()))


def main() -> None:
    """Do what the arguments say."""
    what, folder, *numbers = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    counts = [int(number) for number in numbers]
    if what == "many":
        write("first", counts[1], counts[2])
        multiply(counts[0])
    elif what == "long":
        write("long", counts[0], counts[1])
    else:
        stream(counts[0], counts[1])


if __name__ == "__main__":
    main()
