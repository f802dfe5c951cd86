"""What the keys do, made from the table of actions and the bindings of the screen it is asked on."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen, Screen

from tui.actions import table
from tui.actions.action import key_name
from tui.text.wrapping import Line
from tui.widgets.story import Story


class HelpScreen(ModalScreen[None]):
    """Keys by group; any of esc, q, ? leaves."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen > Story {
        width: 84;
        max-width: 96%;
        height: auto;
        max-height: 92%;
        padding: 1 2;
        background: $surface;
        border: round $border;
        border-title-color: $accent;
        border-title-style: bold;
        border-subtitle-color: $foreground 55%;
        scrollbar-size-vertical: 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "close")]

    def __init__(self, asked_on: Screen[object]) -> None:
        super().__init__()
        self._groups = list(groups(asked_on))
        self._story = Story(empty="")

    def compose(self) -> ComposeResult:
        self._story.border_title = "keys"
        self._story.border_subtitle = "esc closes"
        yield self._story

    def on_mount(self) -> None:
        self._story.show(help_lines(self._groups))
        self._story.focus()


def groups(screen: Screen[object]) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """Return (title, [(keys, text, danger)]) for each group of keys that mean something on the screen."""
    here: dict[str, tuple[str, str, bool]] = {}
    on_run: dict[str, tuple[str, str, bool]] = {}
    general: dict[str, tuple[str, str, bool]] = {}
    keys: dict[str, list[str]] = {}
    for active in sorted(screen.active_bindings.values(), key=lambda active: table.rank(active.binding.id)):
        binding = active.binding
        if not binding.description or not _is_ours(active.node, binding):
            continue
        entry = table.find(binding.id)
        if entry is not None:
            target = general if entry.scope == "everywhere" else on_run if entry.scope == "run" else here
            target.setdefault(binding.action, (entry.key_display, entry.text, entry.danger))
        else:
            keys.setdefault(binding.action, []).append(binding.key_display or key_name(binding.key))
            names = " ".join(dict.fromkeys(keys[binding.action]))
            here[binding.action] = (names, binding.tooltip or binding.description, False)
    titled = (("here", here), ("the run", on_run), ("everywhere", general))
    return [(title, list(entries.values())) for title, entries in titled if entries]


def _is_ours(node: object, binding: Binding) -> bool:
    """Whether a binding was made here, and is not one that the library gives every widget."""
    for owner in type(node).__mro__:
        if owner.__module__.startswith("tui."):
            for own in owner.__dict__.get("BINDINGS", ()):
                if isinstance(own, Binding) and own.action == binding.action and binding.key in own.key.split(","):
                    return True
    return False


def help_lines(found: list[tuple[str, list[tuple[str, str, bool]]]]) -> list[Line]:
    """Return one line a key."""
    width = max(cell_len(keys) for _, entries in found for keys, _, _ in entries)
    lines: list[Line] = []
    for title, entries in found:
        lines.append((0, Content.assemble((title, "bold $foreground 75%"))))
        for keys, text, danger in entries:
            mark = ("  asks first", "$warning") if danger else ""
            lines.append((width + 3, Content.assemble((f"{keys:>{width}}", "bold $accent"), f"   {text}", mark)))
        lines.append((0, Content()))
    return lines[:-1]
