"""Which actions of the table a test says it presses, and which it does press."""

from __future__ import annotations

import ast
import asyncio
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tui.actions import table
from tui.app import PlumblineApp

_KEY: ContextVar[asyncio.Task[Any] | None] = ContextVar("key", default=None)  # the task in which a key is handled


@contextmanager
def pressed() -> Iterator[set[str]]:
    """Collect the ids of the actions whose handlers a key calls in here; what is refused is not among them."""
    found: set[str] = set()
    check, act = PlumblineApp._check_bindings, PlumblineApp.action_act

    @functools.wraps(check)
    async def checking(app: PlumblineApp, key: str, priority: bool = False) -> bool:
        before = _KEY.set(asyncio.current_task())
        try:
            return await check(app, key, priority)
        finally:
            _KEY.reset(before)

    @functools.wraps(act)
    async def acting(app: PlumblineApp, identity: str) -> None:
        entry = table.find(identity)
        if entry is not None and _KEY.get() is asyncio.current_task() and entry.refusal(app.context) is None:
            found.add(identity)
        await act(app, identity)

    with patch.object(PlumblineApp, "_check_bindings", checking), patch.object(PlumblineApp, "action_act", acting):
        yield found


def claimed(folder: Path) -> set[str]:
    """Return the ids that `pytest.mark.presses(...)` names anywhere in the tests of a folder."""
    return {
        argument.value
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "presses"
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }
