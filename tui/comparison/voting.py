"""Votes on the pair that is shown: casting one, and how the votes on these two stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.canvas.charset import current
from tui.comparison.browsing import Browser
from tui.comparison.reading import ComparedRun
from tui.comparison.side_text import side_name

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.votes import Side, Tally


@dataclass(frozen=True, slots=True)
class Standing:
    """The votes on the two sides that stand beside each other. given: the winner of a prompt, by its digest."""

    one: Side
    other: Side
    tally: Tally
    given: Mapping[str, Side | None]


def sides_of(browser: Browser, runs: Sequence[ComparedRun]) -> tuple[Side, Side] | None:
    """Return (id, step) of what is compared, in the order of the runs; null where there is nothing."""
    if browser.left is None or browser.right is None:
        return None
    (left, left_step), (right, right_step) = browser.left, browser.right
    return (runs[left].id, left_step), (runs[right].id, right_step)


def standing(store: Store, one: Side, other: Side) -> Standing:
    """Return how the votes stand. Reads."""
    from engine.store import votes

    return Standing(one, other, votes.tally(store, one, other), votes.votes(store, one, other))


def chosen_side(browser: Browser, runs: Sequence[ComparedRun], choice: str) -> tuple[Side | None, str]:
    """Return which side a vote for what is seen at the left or right means, and who that is; null for a tie."""
    both, seen = sides_of(browser, runs), browser.seen
    if choice == "tie" or both is None or seen is None:
        return None, "neither"
    place = seen[0 if choice == "left" else 1][0]
    return (runs[place[0]].id, place[1]), side_name(place, list(runs))


def standing_text(known: Standing | None, browser: Browser, runs: Sequence[ComparedRun]) -> str:
    """Return the tally in words: who has how many votes; hidden names stay hidden."""
    if known is None or browser.left is None or browser.right is None or not known.tally.votes:
        return "no votes yet"
    tally = known.tally
    if browser.blind:
        return f"{tally.votes} vote{'s' if tally.votes != 1 else ''}"
    one, other = runs[browser.left[0]].letter, runs[browser.right[0]].letter
    if one == other:
        one, other = f"step {browser.left[1]}", f"step {browser.right[1]}"
    separator = f" {current().separator} "
    blind = f" ({tally.blind} blind)" if tally.blind else ""
    return separator.join((f"{one} {tally.one}", f"tie {tally.tie}", f"{other} {tally.other}")) + blind


def given_text(known: Standing | None, browser: Browser) -> str:
    """Return how the prompt that is shown was voted on; empty where it was not, or where that would tell too much."""
    pair = browser.pair
    if known is None or pair is None:
        return ""
    from engine.store.votes import digest

    key = digest(pair.left.prompt)
    if key not in known.given:
        return ""
    winner = known.given[key]
    if browser.blind:
        return "voted"
    return "voted: tie" if winner is None else f"voted: {winner[0]} step {winner[1]}"
