"""The styles of the cells of charts, held once for all charts of a pane.

A screen that comes back has the style of each of its component classes worked out again, which is most of what that
costs: so a chart has none of its own, and asks the pane it stands in.
"""

from __future__ import annotations

from rich.style import Style
from textual.widget import Widget

from tui.canvas.frame import SERIES_INKS, Ink, line_ink
from tui.theme import SERIES_COLORS

_PARTS = {
    Ink.AXIS: "chart--axis",
    Ink.LABEL: "chart--label",
    Ink.NAME: "chart--name",
    Ink.ASIDE: "chart--aside",
    Ink.NOTICE: "chart--notice",
    Ink.CROSSHAIR: "chart--crosshair",
    Ink.MARK: "chart--mark",
}
_FOCUSED = {Ink.AXIS: "chart--focused-axis", Ink.NAME: "chart--focused-name"}
INK_CLASSES = frozenset(
    {
        *_PARTS.values(),
        *_FOCUSED.values(),
        *(f"chart--line-{color}" for color in range(SERIES_INKS)),
        *(f"chart--band-{color}" for color in range(SERIES_INKS)),
    }
)  # the component classes of a pane with charts
INK_RULES = """
        .chart--axis { color: $foreground 25%; }
        .chart--label { color: $foreground 55%; }
        .chart--name { color: $foreground; text-style: bold; }
        .chart--aside { color: $foreground 55%; }
        .chart--notice { color: $error; text-style: bold; }
        .chart--crosshair { color: $foreground 45%; }
        .chart--mark { color: $warning; }
        .chart--focused-axis { color: $accent 60%; }
        .chart--focused-name { color: $accent; text-style: $focused-title-style; }
""" + "".join(
    f"        .chart--line-{place} {{ color: {color}; }}\n"
    f"        .chart--band-{place} {{ color: {color.split()[0]} {25 if ' ' in color else 35}%; }}\n"
    for place, color in enumerate(SERIES_COLORS)
)  # that stand in the CSS of such a pane


def ink_style(chart: Widget, ink: int) -> Style:
    """Return how cells of an ink look in a chart. Raises LookupError if it stands in no pane with these classes."""
    if ink == Ink.BLANK:
        return chart.rich_style
    component = _component(ink, focused=chart.has_focus)
    for pane in chart.ancestors_with_self:
        if isinstance(pane, Widget) and pane.COMPONENT_CLASSES >= INK_CLASSES:
            return pane.get_component_rich_style(component)
    raise LookupError("this chart stands in no pane that holds the styles of charts")


def _component(ink: int, *, focused: bool) -> str:
    if ink in _PARTS:
        part = Ink(ink)
        return _FOCUSED.get(part, _PARTS[part]) if focused else _PARTS[part]
    family = "band" if ink >= Ink.BAND else "line"
    return f"chart--{family}-{(ink - line_ink(0)) % SERIES_INKS}"
