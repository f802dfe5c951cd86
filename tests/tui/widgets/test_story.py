"""Events and samples as text in any width."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.widgets import Static

from engine.store.events import Event
from engine.store.samples import Sample
from engine.telemetry.records import Level
from tests.tui.world import HOSTILE
from tui.widgets.story import Story, events_lines, samples_lines
from tui.wrapping import wrapped

samples = st.builds(
    Sample,
    attempt=st.just(1),
    step=st.integers(0, 5),
    time=st.just(0.0),
    prompt=st.text(max_size=80),
    response=st.text(max_size=80),
    reference=st.none() | st.text(max_size=20),
    scores=st.dictionaries(st.text(max_size=5), st.floats(), max_size=2),
)
events = st.builds(
    Event,
    id=st.integers(1, 9),
    attempt=st.just(1),
    time=st.floats(0, 2e9),
    step=st.none() | st.integers(0, 10**7),
    level=st.sampled_from(Level),
    event=st.just("warning"),
    message=st.text(max_size=200),
    data=st.just({}),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(samples, max_size=6), st.lists(events, max_size=6), st.integers(24, 120))
def test_no_line_is_wider_than_the_pane_and_all_is_printable(found, told, width) -> None:
    for lines in (samples_lines(found), events_lines(told)):
        for line in wrapped(lines, width).plain.split("\n"):
            assert cell_len(line) <= width and line.isprintable()


def test_samples_are_told_newest_step_first_with_what_they_should_have_been() -> None:
    found = [
        Sample(1, 100, 0.0, "Who?", "Nobody.", "George Eliot.", {"exact": 0.0}),
        Sample(1, 100, 0.0, "When?", "1871", None, {}),
        Sample(1, 200, 0.0, f"Who? {HOSTILE}", "George  Eliot.", "George Eliot.", {}),
    ]
    assert wrapped(samples_lines(found), 60).plain.splitlines() == [
        "step 200  1 sample",
        "prompt      Who? [red]gone[/red] ‹202E›‹07›",
        "response ✔  George  Eliot.",
        "",
        "step 100  2 samples",
        "prompt      Who?",
        "response    Nobody.",
        "reference   George Eliot.",
        "scores      exact 0",
        "",
        "prompt      When?",
        "response    1871",
    ]


def test_events_are_told_newest_first_and_bad_ones_have_a_sign(monkeypatch) -> None:
    told = [
        Event(1, 1, 0.0, 10, Level.INFO, "checkpoint", "Saved it.", {}),
        Event(2, 1, 1.0, None, Level.ERROR, "failed", "It broke\nbadly.", {}),
        Event(3, 1, 2.0, 11, Level.WARNING, "warning", "Slow.", {}),
    ]
    shown = [line[10:] for line in wrapped(events_lines(told), 80).plain.splitlines()]
    assert shown == ["step 11     ! Slow.", "            ✖ It broke badly.", "step 10       Saved it."]


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
