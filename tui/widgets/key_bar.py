"""The last line: the keys that mean something here, as many as fit; those that are refused now are dim or give way."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding
from textual.events import Click, Resize
from textual.strip import Strip
from textual.widgets import Input

from tui.actions import table
from tui.actions.action import Context, key_name
from tui.widgets.kept_style import KeptStyle

if TYPE_CHECKING:
    from textual.screen import Screen

    from tui.app import PlumblineApp

_ALWAYS = ("palette", "help", "quit")  # at the right end, whatever else has no room
_OF_LINES = ("enter", "tab", "down", "up", "escape")  # what works in a line that is typed, in this order
_GAP = 2


class KeyBar(KeptStyle):
    """Made of the bindings that are active on its screen, in the order of the table of actions."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-bar--key", "key-bar--text", "key-bar--refused"}
    DEFAULT_CSS = """
    KeyBar {
        height: 1;
        padding: 0 1;
        background: $panel;
        .key-bar--key { color: $footer-key-foreground; text-style: bold; }
        .key-bar--text { color: $foreground 80%; }
        .key-bar--refused { color: $foreground 35%; }
        &:nocolor .key-bar--refused { text-style: dim; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[tuple[Binding, bool]] = []
        self._spans: list[tuple[int, int, Binding]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self.tell()

    def on_resize(self, event: Resize) -> None:
        self.refresh()

    def _changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen:
            self.tell()

    def tell(self) -> None:
        """Ask again which keys mean something, and which are refused."""
        line = self.screen.focused
        entries = self._acting() if not isinstance(line, Input) else [(key, False) for key in self._typing(line)]
        if entries != self._entries:
            self._entries = entries
            self.refresh()

    def _typing(self, line: Input) -> list[Binding]:
        """Return what works while a person types: the keys of the line, and the way out; all others are characters."""
        active = self.screen.active_bindings
        keys = {key: found.binding for key, found in active.items() if found.node is line and found.binding.show}
        keys.setdefault("enter", Binding("enter", "submit", "ok"))
        if "escape" in active:
            keys.setdefault("escape", Binding("escape", active["escape"].binding.action, "back"))
        return [keys[key] for key in _OF_LINES if key in keys]

    def _acting(self) -> list[tuple[Binding, bool]]:
        """Return the keys of actions, each with whether it is refused."""
        context = cast("PlumblineApp", self.app).context_of(self.screen)
        # keys that mean something, but not to what the screen shows now
        unlisted: frozenset[str] = getattr(self.screen, "unlisted", frozenset())
        shown: dict[str, Binding] = {}
        for _, binding, _, _ in self.screen.active_bindings.values():
            if binding.show and binding.id not in unlisted and binding.action not in shown:
                shown[binding.action] = binding
        ordered = sorted(shown.values(), key=lambda binding: table.rank(binding.id))
        return [(binding, _refused(binding, context)) for binding in ordered]

    def render_line(self, y: int) -> Strip:
        """Return the keys: from the left as many as fit, at the right end those that always stand there."""
        width = self.content_region.width
        right = [entry for identity in _ALWAYS for entry in self._entries if entry[0].id == identity]
        left = [entry for entry in self._entries if entry not in right]
        room = width - sum(_size(binding) + _GAP for binding, _ in right)
        if sum(_size(binding) + _GAP for binding, _ in left) > room:
            left = [entry for entry in left if not entry[1]]
        chosen: list[tuple[Binding, bool]] = []
        for entry in left:
            if _size(entry[0]) + _GAP > room:
                break
            room -= _size(entry[0]) + _GAP
            chosen.append(entry)
        segments: list[Segment] = []
        self._spans = []
        x = 0
        for place, entries in enumerate((chosen, right)):
            if place == 1:
                segments.append(Segment(" " * (room + _GAP), self.rich_style))
                x += room + _GAP
            for number, (binding, refused) in enumerate(entries):
                gap = _GAP if place == 0 or number < len(entries) - 1 else 0
                self._spans.append((x, x + _size(binding), binding))
                segments += self._entry(binding, refused, gap)
                x += _size(binding) + gap
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _entry(self, binding: Binding, refused: bool, gap: int) -> list[Segment]:
        key, text = ("key-bar--refused",) * 2 if refused else ("key-bar--key", "key-bar--text")
        return [
            Segment(_key(binding), self.get_component_rich_style(key)),
            Segment(f" {binding.description}", self.get_component_rich_style(text)),
            Segment(" " * gap, self.rich_style),
        ]

    async def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        for start, stop, binding in self._spans:
            if offset is not None and start <= offset.x < stop:
                self.app.simulate_key(binding.key)
                return


def _key(binding: Binding) -> str:
    entry = table.find(binding.id)
    return key_name(entry.keys.partition(",")[0] if entry is not None else binding.key_display or binding.key)


def _size(binding: Binding) -> int:
    return cell_len(_key(binding)) + 1 + cell_len(binding.description)


def _refused(binding: Binding, context: Context) -> bool:
    entry = table.find(binding.id)
    return entry is not None and entry.refusal(context) is not None
