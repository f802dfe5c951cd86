"""Votes of people on pairs of answers to one prompt: which of the two is better, or neither.

A side of a pair is an experiment at a step. Each pair has one vote a prompt: a later one takes its place.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.sqlite import insert

from engine.store import schema
from engine.store.standing import require

if TYPE_CHECKING:
    from engine.store.database import Store

Side = tuple[str, int]  # id of an experiment, step
_table = schema.votes
_FIRST, _SECOND, _TIE = "first", "second", "tie"


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes on a pair, counted."""

    one: int = 0
    tie: int = 0
    other: int = 0
    blind: int = 0  # of all these, cast without knowing who wrote what

    @property
    def votes(self) -> int:
        """How many there are."""
        return self.one + self.tie + self.other


def vote(store: Store, prompt: str, one: Side, other: Side, better: Side | None, *, blind: bool) -> None:
    """Keep a vote.

    Args:
        store: the database.
        prompt: what both answered, word for word.
        one: a side.
        other: the other side; both may be of one experiment, at different steps.
        better: one of the two; null for neither.
        blind: whether it was cast without knowing who wrote what.

    Raises:
        NotFound: if an experiment is not there.
        ValueError: if `better` is none of the two, or they are the same.
    """
    if one == other or better not in (None, one, other):
        raise ValueError(f"{better} is none of {one} and {other}")
    first, second = sorted((one, other))
    winner = _TIE if better is None else _FIRST if better == first else _SECOND
    key = _key(first, second) | {"prompt": digest(prompt)}
    told = {"winner": winner, "blind": int(blind), "voted_at": time.time()}
    with store.write() as connection:
        for identity, _ in (first, second):
            require(connection, identity)
        connection.execute(insert(_table).values(**key, **told).on_conflict_do_update(set_=told))


def take_back(store: Store, prompt: str, one: Side, other: Side) -> None:
    """Remove the vote on a prompt, if there is one."""
    key = _key(*sorted((one, other))) | {"prompt": digest(prompt)}
    with store.write() as connection:
        connection.execute(delete_from(_table).where(*(_table.c[name] == value for name, value in key.items())))


def tally(store: Store, one: Side, other: Side) -> Tally:
    """Return the votes on a pair, counted."""
    first, second = sorted((one, other))
    chosen = select(_table.c.winner, func.count(), func.sum(_table.c.blind)).where(*_of(first, second))
    with store.read() as connection:
        counted = {winner: (count, blind) for winner, count, blind in connection.execute(chosen.group_by("winner"))}
    of_first, of_second = (counted.get(name, (0, 0))[0] for name in (_FIRST, _SECOND))
    return Tally(
        one=of_first if one == first else of_second,
        tie=counted.get(_TIE, (0, 0))[0],
        other=of_second if one == first else of_first,
        blind=sum(blind for _, blind in counted.values()),
    )


def votes(store: Store, one: Side, other: Side) -> dict[str, Side | None]:
    """Return which side was voted better of each prompt, by `digest`; null for neither."""
    first, second = sorted((one, other))
    sides = {_FIRST: first, _SECOND: second, _TIE: None}
    chosen = select(_table.c.prompt, _table.c.winner).where(*_of(first, second))
    with store.read() as connection:
        return {prompt: sides[winner] for prompt, winner in connection.execute(chosen)}


def digest(prompt: str) -> str:
    """Return what a prompt is known by: its SHA-256, in hex."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


def _key(first: Side, second: Side) -> dict[str, str | int]:
    return {"first_id": first[0], "first_step": first[1], "second_id": second[0], "second_step": second[1]}


def _of(first: Side, second: Side) -> list[ColumnElement[bool]]:
    return [_table.c[name] == value for name, value in _key(first, second).items()]
