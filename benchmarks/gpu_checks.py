"""Checks of training on a GPU: tiny models through `engine train` beside the CPU, faults, and memory beside the plan.

python benchmarks/gpu_checks.py [--only training,resuming,…] [--seconds N] [--out FOLDER]

Each check prints what it found; one that fails does not end the others. Nothing is downloaded. Without a GPU it checks
nothing, unless --cpu has the training and resuming checks run on the CPU, to see that they work.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gpu_environment import environment
from gpu_memory import faults, memory, models, most_memory, reinforcing_step
from gpu_runs import Runs
from gpu_training import reinforcing, resuming, training
from machine import describe


def noise(runs: Runs) -> None:
    """What runs that went well wrote to stderr, and what was compiled on the way."""
    usual = (
        "step ",
        "Started",
        "Resumed",
        "Evaluated",
        "Saved",
        "Exported",
        "Finished",
        "Writing model",
        "made in",
    )
    told = "\n".join(text for name, text in runs.told.items() if name not in runs.failed)
    odd = {line for line in told.splitlines() if line.strip() and not line.startswith(usual)}
    print("\n".join(sorted(odd)[:25]) or "nothing unusual")
    made = sorted(path.name for path in (runs.work / "compiled").rglob("*.so"))
    print(f"compiled: {', '.join(made) or 'nothing'}")


ALL: tuple[Callable[[Runs], None], ...] = (
    environment,
    models,  # they are made while the next ones run
    training,
    resuming,
    reinforcing,
    memory,
    reinforcing_step,
    most_memory,
    faults,
)
ALSO_ON_CPU = (training, resuming, reinforcing)


def main() -> int:
    """Run the checks and print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="names of checks, with commas")
    parser.add_argument("--out", type=Path, help="where raw texts go")
    parser.add_argument("--seconds", type=float, default=1800.0, help="for all of them")
    parser.add_argument("--cpu", action="store_true", help="see on a CPU that the checks work")
    arguments = parser.parse_args()
    if not arguments.cpu and shutil.which("nvidia-smi") is None:
        print("there is no GPU here, and nothing was checked")
        return 0
    chosen = ALSO_ON_CPU if arguments.cpu else ALL
    if arguments.only:
        known = {check.__name__: check for check in ALL}
        names = arguments.only.split(",")
        if unknown := [name for name in names if name not in known]:
            parser.error(f"there is no check {unknown[0]}: there are {', '.join(known)}")
        chosen = tuple(known[name] for name in names)
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        out = arguments.out or Path(work) / "out"
        out.mkdir(parents=True, exist_ok=True)
        runs = Runs(Path(work), out, cpu=arguments.cpu, seconds=arguments.seconds)
        print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {describe()}", flush=True)
        for check in (*chosen, noise):
            began = time.monotonic()
            print(f"\n== {check.__name__}: {check.__doc__}")
            try:
                check(runs)
            except Exception:
                failed += 1
                print(traceback.format_exc(limit=3))
            print(f"-- {time.monotonic() - began:.0f} s", flush=True)
        (out / "stderr.txt").write_text("".join(f"== {name}\n{text[-4000:]}\n" for name, text in runs.told.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
