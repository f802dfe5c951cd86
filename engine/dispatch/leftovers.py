"""What ended attempts may have left on nodes that could not be reached then: ended there as soon as they can be."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.cluster.hostfile import Node
from engine.cluster.link import NodeLink
from engine.dispatch.homes import nodes_of
from engine.dispatch.placement import Seat, from_rows, node_key
from engine.errors import NotFound, PlumblineError
from engine.store import attempts, events
from engine.store.attempts import Attempt
from engine.store.database import Store

AGAIN_SECONDS = 5.0
STAY_SECONDS = 600.0  # after the end of an attempt, the dispatcher stays this long for what it left behind


@dataclass(slots=True)
class _Leftover:
    attempt: Attempt
    seat: Seat
    node: Node
    link: NodeLink
    asked_at: float = -math.inf


class Leftovers:
    """Attempts that have ended, by the nodes on which something of them may still live."""

    def __init__(self, store: Store, link: Callable[[Node], NodeLink], complain: Callable[[str], None]) -> None:
        self._store, self._link, self._complain = store, link, complain
        self._known: dict[tuple[str, int, int], _Leftover] = {}

    @property
    def links(self) -> set[NodeLink]:
        """The links that are needed."""
        return {each.link for each in self._known.values()}

    @property
    def pressing(self) -> bool:
        """Whether it is worth staying for them."""
        now = time.time()
        return any(now - (each.attempt.ended_at or 0.0) < STAY_SECONDS for each in self._known.values())

    def held(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return the slots that must be taken for held: by attempt, and by node key."""
        found: dict[str, dict[str, tuple[int, ...]]] = {}
        for (identity, number, _), each in self._known.items():
            what = f"{identity}, whose attempt {number} was left there"
            found.setdefault(what, {})[node_key(each.node)] = each.seat.slot_numbers
        return found

    def look(self) -> None:
        """Read which there are."""
        found: dict[tuple[str, int, int], _Leftover] = {}
        for attempt, index, host in attempts.remains(self._store):
            key = (attempt.experiment_id, attempt.number, index)
            known = self._known.get(key)
            if known is None:
                try:
                    node = nodes_of(self._store, attempt.experiment_id)[host]
                    seat = next(each for each in from_rows(attempt.placement) if each.index == index)
                except (PlumblineError, KeyError, StopIteration) as error:
                    self._complain(f"{attempt.experiment_id}: {host} is not looked after any more: {error}")
                    attempts.clear(self._store, *key)
                    continue
                known = _Leftover(attempt, seat, node, self._link(node))
            found[key] = known
        self._known = found

    def step(self) -> None:
        """Ask the nodes that answer to end what is left."""
        now = time.monotonic()
        for (identity, number, index), each in self._known.items():
            if each.link.connected and now - each.asked_at > AGAIN_SECONDS:
                each.asked_at = now
                each.link.request(
                    "sweep",
                    id=["left", f"{identity}/{number}/{index}"],
                    run_dir=each.attempt.run_dir,
                    attempt=number,
                    node=index,
                )

    def hear(self, name: str, reply: Mapping[str, Any]) -> None:
        """Take in the answer of a node."""
        identity, number, index = name.split("/")
        key = (identity, int(number), int(index))
        each = self._known.get(key)
        if each is None or reply.get("problem") is not None or reply.get("left"):
            return
        killed = int(reply.get("killed") or 0)
        told = f"ended {killed} processes that it had left" if killed else "nothing of it is left"
        try:
            events.add(self._store, identity, key[1], "cleared", f"{each.seat.host} answers again: {told} there.")
            attempts.clear(self._store, *key)
        except NotFound:
            pass  # it was deleted
        del self._known[key]
