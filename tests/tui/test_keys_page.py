"""docs/keys.md says what the table of actions says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tui.actions.table import ACTIONS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_keys_is_the_table_of_actions() -> None:
    spec = importlib.util.spec_from_file_location("make_keys", DOCS / "make_keys.py")
    assert spec is not None
    assert spec.loader is not None
    make_keys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_keys)
    page = make_keys.page()
    assert (DOCS / "keys.md").read_text(encoding="utf-8") == page, "run: python docs/make_keys.py"
    assert all(f"`{action.id}` |" in page for action in ACTIONS)
