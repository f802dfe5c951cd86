"""Marks keep their order, and the baseline always comes first."""

from __future__ import annotations

from tui.marks import MOST, Marks


def test_the_baseline_is_the_first_of_what_is_compared_and_letters_follow_it() -> None:
    marks = Marks()
    assert marks.toggle("one")
    assert marks.toggle("two")
    assert marks.set_baseline("two")
    assert marks.chosen() == ("two", "one")
    assert (marks.letter("two"), marks.letter("one"), marks.letter("three")) == ("A", "B", None)
    assert not marks.toggle("one")
    assert marks.chosen() == ("two",)


def test_more_can_be_marked_than_compared() -> None:
    marks = Marks()
    marks.mark(str(number) for number in range(20))
    marks.mark(["3", "3"])
    assert len(marks.marked) == 20
    assert len(marks.chosen()) == MOST


def test_what_is_gone_is_forgotten() -> None:
    marks = Marks()
    marks.mark(["one", "two"])
    marks.set_baseline("one")
    marks.keep(["two"])
    assert marks.chosen() == ("two",)
    assert marks.baseline is None
