"""The log of one rank: its end is followed until one reads elsewhere; nothing of it is lost or obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tests.tui.world import HOSTILE, shows, until
from tui.widgets.log_view import LogView


class OneLog(App[None]):
    """A log and nothing else."""

    def compose(self) -> ComposeResult:
        yield LogView()


def drive(scenario: Callable[[Pilot[None], LogView], Awaitable[None]]) -> None:
    async def run() -> None:
        async with OneLog().run_test(size=(60, 12)) as pilot:
            await scenario(pilot, pilot.app.query_one(LogView))

    asyncio.run(run())


def append(path: Path, text: str) -> None:
    with path.open("ab") as file:
        file.write(text.encode())


def test_the_end_is_followed_until_one_scrolls_away_and_again_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    append(path, "".join(f"line {number}\n" for number in range(50)))

    async def scenario(pilot: Pilot[None], log: LogView) -> None:
        log.open(path)
        await shows(pilot, "line 49")
        for lower in (15, 9, 16):
            await pilot.resize_terminal(60, lower)
            await until(pilot, lambda: log.is_vertical_scroll_end and log.following)
            await shows(pilot, "line 49")
        await pilot.press("k", "k", "k")
        await until(pilot, lambda: not log.following)
        append(path, "line 50\nhalf a line")
        await until(pilot, lambda: "half a line" in log.lines)
        assert not log.is_vertical_scroll_end
        await pilot.press("G")
        await shows(pilot, "half a line")
        assert log.following
        append(path, " is whole\n")
        await shows(pilot, "half a line is whole")
        path.write_bytes(b"anew\n")
        await until(pilot, lambda: log.lines == ["anew"])
        log.open(None)
        await shows(pilot, "no log yet")

    drive(scenario)


def test_a_search_reads_further_back_than_what_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    append(
        path, f"needle of the beginning {HOSTILE}\n" + "".join(f"{number:06d} {'.' * 80}\n" for number in range(9_000))
    )

    async def scenario(pilot: Pilot[None], log: LogView) -> None:
        log.open(path)
        await shows(pilot, "008999")
        log.search("needle")
        assert log.found == "no line in memory matches"
        await until(pilot, lambda: log.matches or log.next_match(-1) or False)
        log.next_match(-1)
        await shows(pilot, "needle of the beginning [red]gone[/red] ‹202E›‹07›")
        assert log.found == "1/1 lines match" and not log.following
        log.search("NEEDLE OF")
        assert log.matches
        log.search("")
        assert not log.matches and log.found == ""

    drive(scenario)
