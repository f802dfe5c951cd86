"""Tables as HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.report.markup import Html, joined, tag
from engine.report.tables import Cell, Grid


def drawn(grid: Grid, *, class_: str | None = None, extra: Sequence[Html] = (), heat: int = 0) -> Html:
    """Return a table.

    Arguments:
        extra: what stands in a further column, a row each.
        heat: the number that is shown darkest, of a table of counts.
    """
    edges = {1 + sum(columns for _, columns in grid.spans[:place]) for place in range(len(grid.spans))}
    header = [
        tag("th", name, scope="col", class_=_class(grid, place, edges) or None)
        for place, name in enumerate(grid.header)
    ]
    if extra:
        header.append(tag("th", ""))
    rows = [tag("tr", *header)]
    if grid.spans:
        spans = [tag("th", label, colspan=columns, class_="span edge") for label, columns in grid.spans]
        rows.insert(0, tag("tr", tag("th", ""), *spans))
    body = [
        tag("tr", *_cells(grid, row, edges, heat), tag("td", extra[place], class_="bar") if extra else None)
        for place, row in enumerate(grid.rows)
    ]
    return tag("div", tag("table", tag("thead", *rows), tag("tbody", *body), class_=class_), class_="wide")


def _cells(grid: Grid, row: Sequence[Cell], edges: set[int], heat: int) -> Iterator[Html]:
    for place, cell in enumerate(row):
        below = tag("small", cell.below) if cell.below else None
        inside = joined([_lines(cell.text), below])
        if place == 0:
            yield tag("th", inside, scope="row")
            continue
        classes = f"{_class(grid, place, edges)} {cell.tone}".split()
        style = None
        if heat and place < len(row) - 1 and row[0].text != "all":
            share = int(cell.text.replace(",", "")) / heat
            style = f"background: rgba(var(--heat), {0.5 * share:.2f})"
        yield tag("td", inside, class_=" ".join(classes) or None, style=style)


def _class(grid: Grid, place: int, edges: set[int]) -> str:
    numeric = "n" if grid.numeric and place else ""
    return f"{numeric} {'edge' if place in edges else ''}".strip()


def _lines(text: str) -> Html:
    return joined(text.splitlines() or [""], " ⏎ ")
