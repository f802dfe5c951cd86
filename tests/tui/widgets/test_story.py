"""A long text in any width."""

from __future__ import annotations

import asyncio

from textual.app import App, ComposeResult
from textual.widgets import Static

from engine.store.samples import Sample
from tui.run.samples import samples_lines
from tui.text.wrapping import wrapped
from tui.widgets.story import Story


def test_a_text_that_needs_a_scrollbar_is_wrapped_once_beside_it() -> None:
    story = Story(empty="nothing")

    class One(App[None]):
        def compose(self) -> ComposeResult:
            yield story

    async def run() -> None:
        async with One().run_test(size=(40, 8)) as pilot:
            found = [Sample(1, 1, 0.0, "a" * 20 + " " + "b" * n, "yes", None, {}) for n in range(1, 9)]
            story.show(samples_lines(found))
            await pilot.pause()
            shown = story.query_one("Static", Static).content
            assert shown == wrapped(samples_lines(found), story.scrollable_content_region.width)

    asyncio.run(run())
