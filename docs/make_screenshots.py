"""Make docs/screenshots/*.svg and *.png: the running program over generated experiments. `make screenshots`.

Seed, clock and time zone are fixed, so that the pictures change only when the program does. The PNGs are drawn from the
SVGs by a browser (chromium); where there is none, they are left as they are, and that is said.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import tui.data  # noqa: E402
from engine.data.facts.files import write as write_facts  # noqa: E402
from engine.data.facts.world import FactWorld  # noqa: E402
from tui.app import PlumblineApp  # noqa: E402
from tui.intents import Intents  # noqa: E402
from tui.showcase.__main__ import write  # noqa: E402
from tui.showcase.history import Clock  # noqa: E402
from tui.showcase.opening import DATABASE  # noqa: E402

NOW = 1_780_000_000.0  # a Thursday in May 2026
Keys = tuple[str, ...]
POLICIES = ("slash", *"kind:ppo -state:queued", "enter", "ctrl+a", "G", "b", "3")
PICTURES: dict[str, tuple[tuple[int, int], str | None, Keys, str]] = {
    # name: size, experiment to open, keys, what stands on the screen when it is ready
    "runs": ((120, 36), None, ("down", "down", "down"), "last metrics"),
    "runs-grouped": ((120, 36), None, ("O", "down", "enter", "down", "down", "down"), "by kind"),
    "run": ((120, 40), "kl-6", (), "following"),
    "run-narrow": ((80, 24), "kl-6", (), "pgdn"),
    "compare": ((120, 40), None, POLICIES, "curves"),
    "compare-phase": ((120, 40), None, (*POLICIES, "p"), "reward"),
    "queue": ((120, 36), None, ("4",), "longer-context"),
    "launch": ((120, 36), None, ("n", *("down",) * 9, "enter"), "engine launch"),
    "cluster": ((120, 36), None, ("5",), "n7"),
    "index": ((120, 36), None, ("6",), "wiki-e5"),
}


def fixed_world(clock: Clock) -> None:
    """Fix clock, time zone, locale and what is seen of the dispatcher."""
    os.environ |= {"TZ": "UTC", "LC_ALL": "C.UTF-8"}
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    time.time = clock
    tui.data._dispatcher_pid = lambda path: 4021


def take(database: Path, size: tuple[int, int], experiment: str | None, keys: Keys, ready: str) -> str:
    """Return a picture of the program, as SVG."""
    app = PlumblineApp(database, experiment=experiment, intents=Intents(database, wake=lambda path: None))

    async def run() -> str:
        async with app.run_test(size=size) as pilot:
            await _until(pilot, lambda: "tok/s" in _text(pilot) or (experiment is None and "runs" in _text(pilot)))
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.2)
            await _until(pilot, lambda: ready in _text(pilot))
            await pilot.pause(0.5)
            return app.export_screenshot(title="plumbline")

    return asyncio.run(run())


async def _until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 30.0) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up:
            raise TimeoutError(_text(pilot))
        await pilot.pause(0.05)


def _text(pilot: Pilot[None]) -> str:
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def drawn(picture: Path, size: tuple[int, int]) -> None:
    """Draw the PNG beside an SVG."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print(f"no browser: {picture.with_suffix('.png')} is left as it is")
        return
    found = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', picture.read_text(encoding="utf-8"))
    assert found is not None
    width, height = (round(float(number)) for number in found.groups())
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--window-size={width},{height}", f"--screenshot={picture.with_suffix('.png')}", picture.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def main() -> None:
    """Fill a database, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "screenshots")
    parser.add_argument("--only", action="append", choices=PICTURES, help="this picture alone")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(REPOSITORY)
    data = Path("demo/facts")
    if not data.exists():
        write_facts(FactWorld(0), data)  # what the recipe of the form takes
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, NOW)[0].store.close()
        fixed_world(Clock(NOW))
        os.environ["ENGINE_DB"] = str(folder / DATABASE)  # so that no command has to name it
        for name in arguments.only or PICTURES:
            size, experiment, keys, ready = PICTURES[name]
            picture = out / f"{name}.svg"
            picture.write_text(take(folder / DATABASE, size, experiment, keys, ready), encoding="utf-8")
            print(picture)
            drawn(picture, size)


if __name__ == "__main__":
    main()
