"""Going elsewhere, or leaving the program: a form that was changed asks first, and what runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.errors import PlumblineError

if TYPE_CHECKING:
    from tui.app import PlumblineApp


def when_left(app: PlumblineApp, then: Callable[[], object]) -> None:
    """Do this at once, or, where a screen is `unsaved`, when a person says that what is in it may be forgotten."""
    if any(getattr(screen, "unsaved", False) for screen in app.screen_stack):
        app.run_worker(_ask(app, then))
    else:
        then()


async def _ask(app: PlumblineApp, then: Callable[[], object]) -> None:
    for screen in reversed(app.screen_stack):
        if getattr(screen, "unsaved", False) and not await screen.may_leave():
            return
    then()


async def farewell(app: PlumblineApp) -> str | None:
    """Return what goes on when the program is left; null: nothing."""
    if not app.store_is_open:
        return None
    try:
        live = await asyncio.to_thread(app.intents.live, app.store)
    except PlumblineError:
        return None
    if live > 1:
        return f"{live} runs go on; plumbline shows them again."
    return "1 run goes on; plumbline shows it again." if live else None
