"""Titles and texts of widgets, set only where they differ: what is set anew is laid out and painted anew."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static


def entitle(widget: Widget, title: str, subtitle: str = "") -> None:
    """Let the border have this title and this subtitle, never as markup. Both without control characters."""
    wanted, below = Content(title), Content(subtitle)
    if (widget.border_title or "") != wanted.markup:
        widget.border_title = wanted
    if (widget.border_subtitle or "") != below.markup:
        widget.border_subtitle = below


def tell(static: Static, text: Content | str) -> None:
    """Show a text; the screen is only laid out anew when it may need other room than the one before."""
    wanted, shown = Content(text) if isinstance(text, str) else text, static.content
    if not isinstance(shown, Content):
        static.update(wanted)
    elif not wanted.is_same(shown):
        static.update(wanted, layout=_room(static, wanted) != _room(static, shown))


def _room(static: Static, text: Content) -> tuple[int, object]:
    """Return what tells the room of a text: the number of its lines, and where some are wrapped, their lengths."""
    lengths = [line.cell_length for line in text.split("\n", allow_blank=True)]
    width = static.styles.width
    fits = (width is None or not width.is_auto) and max(lengths) <= static.content_region.width
    return len(lengths), None if fits else lengths
