"""Make the database of `plumbline --demo` and let what runs in it go on, as long as standard input stays open.

python -m tui.showcase FOLDER      FOLDER/experiments.db is there as a whole, or not yet
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from engine.store.database import Store
from tui.showcase import machines
from tui.showcase.history import Clock, History
from tui.showcase.opening import DATABASE
from tui.showcase.story import Live, fill


def write(folder: Path, now: float) -> tuple[History, list[Live]]:
    """Write the generated experiments into a new FOLDER, with `time.time` set to what is written; return what runs."""
    clock, real = Clock(now), time.time
    making = folder.with_name(folder.name + ".making")
    making.mkdir(parents=True)
    time.time = clock
    try:
        store = Store.open(making / DATABASE)
        history = History(store, clock)
        live = fill(history, folder / "evaluations", now)
        store.close()
    finally:
        time.time = real
    for made in making.iterdir():
        if made.name != DATABASE:
            made.rename(folder / made.name)
    (making / DATABASE).rename(folder / DATABASE)  # last: who waits for it finds everything
    making.rmdir()
    history.store = Store.open(folder / DATABASE)
    return history, live


def go_on(history: History, live: list[Live], pause: float = 1.0) -> None:
    """Let the runs take the steps that are due, until standard input is closed."""
    while not select.select([sys.stdin], [], [], pause)[0]:
        for one in live:
            if one.attempt.step >= one.attempt.course.steps:
                continue
            history.clock.now = time.time()
            history.train(one.attempt, one.attempt.step + one.stride, one.answers, stride=one.stride)
        history.clock.now = time.time()
        machines.hear(history, [one.attempt for one in live])
    history.store.close()


def main() -> None:
    """Fill FOLDER and keep it alive."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    go_on(*write(folder, time.time()))


if __name__ == "__main__":
    main()
