"""Make docs/keys.md from the table of actions, which drives the program too: python docs/make_keys.py"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tui.actions.table import ACTIONS  # noqa: E402

TITLES = {
    "everywhere": "Everywhere",
    "run": "On a run, wherever one is chosen",
    "runs": "1 Runs",
    "charts": "2 Run",
    "log": "Inside the log of a run",
    "compare": "3 Compare",
    "queue": "4 Queue",
    "recipes": "New run: the recipe",
    "launch": "New run: the form",
    "cluster": "5 Cluster",
    "index": "6 Index",
}
_HEAD = """\
# Keys

Made by `python docs/make_keys.py` from the table that drives key bar, help (`?`) and palette (`:`) too. What touches
the world asks first, and says what it costs. With `--readonly` what touches the world or the database is refused.

Keys of your own: lines of `ID: KEY` in `~/.config/plumbline/keys.yaml`, or in the file that `--keys` names, such as
`kill: ctrl+k` or `filter: slash,f`. A key that would mean two things on one screen is refused.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(line for scope in TITLES for line in _section(scope))])


def _section(scope: str) -> Iterator[str]:
    yield f"## {TITLES[scope]}\n"
    yield "| key | does | `engine` | id |"
    yield "|---|---|---|---|"
    for action in (action for action in ACTIONS if action.scope == scope):
        does = action.text + (" (asks first)" if action.danger else "")
        twin = f"`engine {action.cli.replace('{id}', 'EXP')}`" if action.cli else ""
        keys = " ".join(f"`{key}`" for key in action.key_display.split(" "))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (keys, does, twin, f"`{action.id}`")) + " |"
    yield ""


if __name__ == "__main__":
    (REPOSITORY / "docs" / "keys.md").write_text(page(), encoding="utf-8")
