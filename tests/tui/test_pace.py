"""Nothing is read while a key is on its way to the screen, and yet what is new is not left out for long."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from textual.app import App

from tui.pace import Pace


def test_a_read_waits_for_what_a_key_does_but_not_for_ever() -> None:
    begun: list[float] = []

    async def run() -> None:
        async with App[None]().run_test() as pilot:
            driver: Any = pilot.app._driver
            pace = Pace(pilot.app.screen, lambda: begun.append(time.monotonic()))
            pace.done(0.0)  # one has just been read
            driver.touched_at = pressed = time.monotonic()
            pace.ask()
            assert begun == []
            while not begun:
                await pilot.pause(0.01)
            assert begun.pop() >= pressed + 0.1
            pace.done(0.0)
            driver.touched_at = done = time.monotonic()
            pace.ask()
            while not begun:  # keys come and come
                driver.touched_at = time.monotonic()
                await pilot.pause(0.01)
            assert begun[0] >= done + 0.9
            pace.done(0.0)
            pace.ask(at_once=True)
            assert len(begun) == 2, "a person asked"

    asyncio.run(run())
