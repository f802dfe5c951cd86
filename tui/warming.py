"""What the screens need is loaded before somebody goes there: some of it takes half a second."""

from __future__ import annotations

import contextlib
from importlib import import_module
from threading import Thread
from typing import Any

from textual.app import App

from tui.places import PLACES

_AFTER = 2.0  # seconds from the start: the list of runs is there
_NEEDED = ("tui.screens.run", "engine.dispatch.survey", "engine.dispatch.line")  # beside the places themselves


def load_all() -> None:
    """Load what the places need."""
    for module in (*(place.screen.partition(":")[0] for place in PLACES if place.screen), *_NEEDED):
        with contextlib.suppress(Exception):  # whoever goes there is told what is wrong
            import_module(module)


def load_soon(app: App[Any]) -> None:
    """Load it in a thread, once the first screen stands."""
    app.set_timer(_AFTER, Thread(target=load_all, name="loading", daemon=True).start)
