"""The actions that mean the same on every screen."""

from __future__ import annotations

from tui.actions.action import Action, always
from tui.places import PLACES

EVERYWHERE: tuple[Action, ...] = (
    *(Action(f"go-{place.id}", place.key, f"go to {place.title}", f"app.go('{place.id}')", always) for place in PLACES),
    Action("jump", "ctrl+o", "jump to a pane: letters over all of them", "app.jump", always),
    Action("theme", "ctrl+t", "dark or light colours", "app.switch_theme", always),
    Action(
        "palette",
        "colon,ctrl+p",
        "all commands, each with its engine twin",
        "app.command_palette",
        always,
        short="commands",
    ),
    Action("help", "question_mark", "this help", "app.help", always, short="help"),
    Action("quit", "q", "quit; what runs goes on", "app.quit", always, short="quit"),
)
