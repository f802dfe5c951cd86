"""In which keys the specs of two runs differ: what this one has, and what the other one had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.canvas.charset import ASCII, current
from tui.run.detail import spec_value
from tui.text.cells import align
from tui.text.safe import visible

_QUIET = "$foreground 60%"
_WIDEST_KEY, _LEAST_VALUE = 36, 12  # cells


class DifferenceScreen(ModalScreen[None]):
    """One line a key; esc closes."""

    DEFAULT_CSS = """
    DifferenceScreen { align: center middle; background: $background 60%; }
    DifferenceScreen > VerticalScroll {
        width: 100;
        max-width: 94%;
        height: auto;
        max-height: 86%;
        padding: 1 2;
        background: $surface;
        border: round $border;
        border-title-color: $accent;
        border-title-style: bold;
        border-subtitle-color: $foreground 55%;
        scrollbar-size-vertical: 1;
    }
    DifferenceScreen Static { width: 100%; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,d,enter", "dismiss", "close")]

    def __init__(self, this: str, other: str, differences: Mapping[str, tuple[object, object]]) -> None:
        """differences: of the other one, of this one, by dotted key."""
        super().__init__()
        self._this, self._other, self._differences = this, other, differences
        self._text = Static(markup=False)
        self._box = VerticalScroll(self._text)

    def compose(self) -> ComposeResult:
        yield self._box

    def on_mount(self) -> None:
        number = sum(key not in ("name", "note") for key in self._differences)
        self._box.border_title = visible(f"{self._this} against {self._other}")
        self._box.border_subtitle = f"{'1 key differs' if number == 1 else f'{number} keys differ'}   esc close"
        self._box.focus()

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        width = self._box.scrollable_content_region.width
        self._text.update(difference_text(self._this, self._other, self._differences, width))


def difference_text(this: str, other: str, differences: Mapping[str, tuple[object, object]], width: int) -> Content:
    """Return key, value of this one, arrow, value of the other one, in columns. width: cells of a line."""
    told = {key: values for key, values in differences.items() if key not in ("name", "note")}
    if not told:
        return Content("The specs differ in nothing but name and note.")
    texts = {key: (spec_value(new), spec_value(old)) for key, (old, new) in told.items()}
    key_width = min(_WIDEST_KEY, max(cell_len(visible(key)) for key in texts))
    arrow = " <- " if current() is ASCII else "  ←  "
    room = max(_LEAST_VALUE, width - key_width - 2 - len(arrow))
    value_width = min(max(cell_len(new) for new, _ in (*texts.values(), (this, ""))), room // 2)
    other_width = max(_LEAST_VALUE, room - value_width)
    lines = [
        Content.assemble(
            (f"{align('', key_width)}  {align(this, value_width)}{' ' * len(arrow)}{other}", "bold $foreground 75%")
        )
    ]
    for key, (new, old) in texts.items():
        lines.append(
            Content.assemble(
                (f"{align(visible(key), key_width)}  ", _QUIET),
                align(new, value_width),
                (arrow, _QUIET),
                (align(old, other_width).rstrip(), _QUIET),
            )
        )
    return Content("\n").join(lines)
