"""The end of the program: what still arrives when its screens are gone is let go."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine.errors import NotFound
from tests.tui.world import World, drive, shows
from tui.app import PlumblineApp
from tui.data import DispatcherSeen, StoreChanged, StoreFailed
from tui.notices.telling import WebhookFailed


def test_news_of_the_database_after_the_last_screen_is_gone_is_no_fault(
    world: World, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[str] = []
    close_all, dispatch = PlumblineApp._close_all, PlumblineApp._dispatch_message

    async def closing(self: PlumblineApp) -> None:
        await close_all(self)
        assert not self.screen_stack
        news = (StoreChanged(), StoreFailed(NotFound("gone")), DispatcherSeen(None), WebhookFailed("no answer"))
        for message in news:
            await dispatch(self, message)
            handled.append(type(message).__name__)

    monkeypatch.setattr(PlumblineApp, "_close_all", closing)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "40/100")

    drive(world.app(), scenario)
    assert handled == ["StoreChanged", "StoreFailed", "DispatcherSeen", "WebhookFailed"]
