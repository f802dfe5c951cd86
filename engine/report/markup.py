"""HTML and SVG as text that cannot carry what it should not: all but `Html` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from engine.telemetry.visible import visible

_VOID = frozenset({"meta", "br", "hr", "col"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | None


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Html:
    """Return an element. `class_` is the attribute class, an underscore elsewhere a hyphen; null leaves one out."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_escaped(_number(value) if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{shown}>")
    return Html(f"<{name}{shown}>{''.join(map(_child, children))}</{name}>")


def joined(parts: Iterable[Child], between: str = "") -> Html:
    """Return parts side by side. between: is escaped as they are."""
    return Html(_child(between).join(_child(part) for part in parts if part is not None))


def prose(text: str, most: int | None = None) -> Html:
    """Return a text from outside with its lines, set apart from the direction of what stands around it.

    most: characters that are shown.
    """
    cut = text if most is None or len(text) <= most else text[:most].rstrip() + " …"
    return tag("bdi", joined((visible(line) for line in cut.splitlines()), _BREAK))


def _child(child: Child) -> str:
    if child is None:
        return ""
    return child if isinstance(child, Html) else _escaped(child)


def _escaped(text: str) -> str:
    return html.escape(visible(text), quote=True)


def _number(value: float) -> str:
    """Return a coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


_BREAK = Html("<br>")
