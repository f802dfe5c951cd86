"""Menus and questions that stand over a screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from textual.pilot import Pilot
from textual.screen import ModalScreen

from tests.tui.world import HOSTILE, World, drive, screen_text, shows, until
from tui.screens.ask import AskScreen
from tui.screens.checklist import ChecklistScreen
from tui.screens.menu import Choice, MenuScreen


def answer_of(world: World, screen: ModalScreen[Any], act: Callable[[Pilot[None]], Awaitable[None]]) -> Any:
    """Show a dialogue, act, and return its answer."""
    answers: list[Any] = []

    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.app.push_screen(screen, answers.append)
        await pilot.pause()
        await act(pilot)
        await until(pilot, lambda: bool(answers))

    drive(world.app(), scenario)
    return answers[0]


CHOICES = (
    Choice("a", "first", "1"),
    Choice("b", HOSTILE, "2", note="now", current=True),
    Choice("c", "third", "3", refused="It is not there."),
)


def test_a_menu_is_answered_by_cursor_key_or_not_at_all(world: World) -> None:
    async def cursor(pilot: Pilot[None]) -> None:
        await shows(pilot, "[red]gone[/red]", "first", "now")
        assert all(line.isprintable() for line in screen_text(pilot.app.screen).splitlines())
        await pilot.press("k", "enter")

    async def key(pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await shows(pilot, "It is not there.")
        await pilot.press("2")

    assert answer_of(world, MenuScreen("menu", CHOICES), cursor) == "a"
    assert answer_of(world, MenuScreen("menu", CHOICES), key) == "b"
    assert answer_of(world, MenuScreen("menu", CHOICES), lambda pilot: pilot.press("escape")) is None
    other = MenuScreen("menu", CHOICES, others=("delete",))
    assert answer_of(world, other, lambda pilot: pilot.press("delete")) == "delete:b"


def test_a_question_refuses_an_answer_that_will_not_do_and_completes(world: World) -> None:
    async def act(pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await shows(pilot, "It needs a name.")
        await pilot.press(*"new b")
        await shows(pilot, "new base")
        await pilot.press("right", "space", "enter")

    ask = AskScreen("name", suggestions=["base"], refusal=lambda line: None if line else "It needs a name.")
    assert answer_of(world, ask, act) == "new base"


def test_a_checklist_ticks_carries_and_returns_to_the_usual(world: World) -> None:
    choices = [Choice(one, f"choice {one}", current=one in "ab") for one in "abcd"]

    async def act(pilot: Pilot[None]) -> None:
        await pilot.press("d", "space", "backspace")  # searched, ticked
        await pilot.press("down", "space", "shift+up")  # b no more; above a
        await pilot.press("space", "down", "shift+down")  # b again, above a; a goes below c

    async def take(pilot: Pilot[None]) -> None:
        await act(pilot)
        await pilot.press("enter")

    async def usual(pilot: Pilot[None]) -> None:
        await act(pilot)
        await pilot.press("ctrl+r", "enter")

    assert answer_of(world, ChecklistScreen("ticks", choices), take) == ("b", "a", "d")
    assert answer_of(world, ChecklistScreen("ticks", choices, usual=("a", "c")), usual) == ("a", "c")
