"""Strips go without a collection of garbage, and are cut as Textual cuts them."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui import acyclic_strips

STYLE = Style(bold=True)


def strip() -> Strip:
    """One of ten cells."""
    return Strip([Segment("loss "), Segment("0.123", STYLE)])


@pytest.mark.parametrize(
    "use",
    [
        lambda one: acyclic_strips.divide(one, [10]),
        lambda one: acyclic_strips.divide(one, [10, 12]),
        lambda one: acyclic_strips.adjust_cell_length(one, 10),
        lambda one: acyclic_strips.crop_extend(one, 0, 10, None),
    ],
)
def test_a_strip_that_was_cut_whole_goes_with_its_last_holder(use: Callable[[Strip], object]) -> None:
    gc.collect()
    gc.disable()
    try:
        one = strip()
        use(one)
        del one
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_all_others_are_cut_as_before() -> None:
    for cuts in ([3, 10], [4, 7], [10], [0, 10, 11], []):
        assert list(acyclic_strips.divide(strip(), cuts)) == list(strip().divide(cuts))
    for length in (0, 4, 10, 14):
        assert acyclic_strips.adjust_cell_length(strip(), length, STYLE) == strip().adjust_cell_length(length, STYLE)
    for start, end in ((0, 10), (2, 10), (0, 12), (3, 5), (-1, 10)):
        assert acyclic_strips.crop_extend(strip(), start, end, STYLE) == strip().crop_extend(start, end, STYLE)
