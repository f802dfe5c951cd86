"""The page of evaluations: figures with intervals, what changed, and examples to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content

from tui.comparison.answers import Answers
from tui.text.cells import align
from tui.text.pane import head
from tui.text.safe import visible
from tui.text.wrapping import Line

if TYPE_CHECKING:
    from engine.report.records import Example, Given
    from engine.report.tables import Cell, Grid

_QUIET = "$foreground 60%"
_TONES = {"better": "$success", "worse": "$error", "none": _QUIET, "same": _QUIET}
_GAP, _LEAST_NAME = 2, 12
_LABEL = 11  # cells
_MOST = 600  # characters of an answer
_OUTCOMES = {"correct": "$success", "hallucinated": "$error", "abstained": "$warning"}


def answer_lines(answers: Answers, width: int) -> list[Line]:
    """Return the page in `width` cells; nothing where no run is an evaluation."""
    from engine.report import tables
    from engine.report.wording import counted

    told = answers.headline
    if told is None:
        return []
    blocks: list[list[Line]] = [[head(f"outcomes: {tables.asked(told)}"), *grid_lines(tables.headline(told), width)]]
    change = answers.change
    if change is not None:
        title = f"from {change.before_label} to {change.after_label}: {counted(change.paired, 'question')}"
        blocks.append([head(title), (0, Content(tables.changed(change)))])
        blocks.append(list(grid_lines(tables.differences(change), width)))
        blocks.append(list(grid_lines(tables.matrix(change), width)))
    blocks += [[(0, Content.assemble((visible(note), "$warning")))] for note in answers.notes]
    if change is not None:
        blocks += _examples("newly hallucinates", change.newly_hallucinates, change.hallucinated_examples)
        blocks += _examples("better", change.better, change.better_examples)
    for title, grid in (("more figures", tables.more_figures(told)), ("why answers failed", tables.causes(told))):
        if grid.rows:
            blocks.append([head(title), *grid_lines(grid, width)])
    blocks += [[head(title), *grid_lines(grid, width)] for title, grid, _ in tables.groups(told)]
    if (grid := tables.calibration(told)).rows:
        blocks.append([head("confidence"), *grid_lines(grid, width)])
    lines: list[Line] = []
    for block in blocks:
        lines += [*block, (0, Content())]
    return lines[:-1]


def grid_lines(grid: Grid, width: int) -> Iterator[Line]:
    """Yield the lines of a table of a report: a header, and a line a row with its intervals below it."""
    shown = [[_shown(cell) for cell in row] for row in grid.rows]
    below = [[(visible(cell.below), _QUIET) for cell in row] for row in grid.rows]
    every = [[(title, _QUIET) for title in grid.header], *shown, *below]
    sizes = [max(cell_len(row[place][0]) for row in every) for place in range(len(grid.header))]
    rest = sum(sizes[1:]) + _GAP * (len(sizes) - 1)
    sizes[0] = max(min(sizes[0], width - rest), min(_LEAST_NAME, sizes[0]))
    fitting = 1
    while fitting < len(sizes) and sum(sizes[: fitting + 1]) + _GAP * fitting <= width:
        fitting += 1
    sizes = sizes[:fitting]
    yield 0, _row(every[0], sizes, numeric=grid.numeric)
    for row, intervals in zip(shown, below, strict=True):
        yield 0, _row(row, sizes, numeric=grid.numeric)
        if any(text for text, _ in intervals[:fitting]):
            yield 0, _row(intervals, sizes, numeric=grid.numeric)


def _shown(cell: Cell) -> tuple[str, str]:
    word = {"better": " better", "worse": " worse"}.get(cell.tone, "")
    return visible(cell.text) + word, _TONES.get(cell.tone, "")


def _row(cells: Sequence[tuple[str, str]], sizes: Sequence[int], *, numeric: bool) -> Content:
    parts: list[tuple[str, str]] = []
    for place, ((text, style), size) in enumerate(zip(cells, sizes, strict=False)):
        parts.append((align(text, size, right=numeric and place > 0), style))
        parts.append((" " * _GAP, ""))
    return Content.assemble(*parts[:-1])


def _examples(what: str, count: int, shown: Sequence[Example]) -> list[list[Line]]:
    if not shown:
        return []
    some = f", {len(shown)} of them" if len(shown) < count else ""
    blocks: list[list[Line]] = []
    for one in shown:
        accepted = " / ".join(one.accepted) or ("nothing: it has no answer" if one.answerable is False else "not known")
        block = [*_field("question", one.question, "bold"), *_field("accepted", accepted, _QUIET)]
        block += [*_given("before", one.before), *_given("after", one.after)]
        blocks.append(block)
    return [[head(f"{what}: {count:,}{some}"), *blocks[0]], *blocks[1:]]


def _given(label: str, one: Given) -> Iterator[Line]:
    from engine.report.tables import cause_of, confidence

    yield from _field(label, one.text[:_MOST])
    cause = cause_of(one)
    told = one.outcome + confidence(one.confidence) + (f": {cause}" if cause else "")
    yield _LABEL, Content.assemble((" " * _LABEL, ""), (visible(told), _OUTCOMES.get(one.outcome, _QUIET)))


def _field(label: str, text: str, style: str = "") -> Iterator[Line]:
    shown = f"{label:<{_LABEL}}"
    for line in [visible(line) for line in text.splitlines()] or ["(nothing)"]:
        yield _LABEL, Content.assemble((shown, _QUIET), (line, style))
        shown = " " * _LABEL
