"""How things stand, in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tui.intents import Intents
from tui.showcase.opening import IdleIntents
from tui.standing import dispatcher_standing


def test_a_dispatcher_that_is_missing_is_told_but_not_where_nothing_is_dispatched() -> None:
    words = {
        kind: dispatcher_standing(SimpleNamespace(intents=kind(Path("e.db")), dispatcher_pid=None), needed=True).plain
        for kind in (Intents, IdleIntents)
    }
    assert words == {
        Intents: "○ dispatcher does not run",
        IdleIntents: "generated experiments: nothing runs here",
    }
