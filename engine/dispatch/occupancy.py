"""Which slots are free, when the others are expected to be, and which are kept for a run that waits.

One `Occupancy` stands for one look at the cluster; what begins, and what is kept, is entered as it is decided. A set of
slots of a node is an integer, bit i for slot i. Times are epoch seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.dispatch.placement import Candidate, Want
from engine.dispatch.turns import Turn

ASSUMED_SECONDS = 3600.0  # what a run of unknown duration is taken to last, where it may take slots kept for another


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """What is known of a node, beside the runs of this database."""

    foreign: Mapping[int, str] = field(default_factory=dict)  # slot → who else holds it: "anna@desk: ppo-0012"
    drained: bool = False  # nothing new is to begin there
    unreachable: str | None = None  # why


@dataclass(frozen=True, slots=True)
class Running:
    """A run that holds slots: from before it is started until nothing is left of it."""

    id: str
    slots: Mapping[str, Sequence[int]]  # by node key
    began_at: float
    ends_at: float | None = None  # as expected now; None: unknown
    share: bool = False
    turn: Turn | None = None  # the place that it had in the order; None: it counts as one that overtook
    seconds: float | None = None  # how long it was expected to last while it was queued; None: unknown


@dataclass(frozen=True, slots=True)
class Kept:
    """Slots that are kept for a run that waits."""

    id: str
    turn: Turn
    want: Want
    slots: Mapping[str, int]  # by node key
    open_until: float  # younger runs that are expected to have ended by then may take them


@dataclass(slots=True)
class _Node:
    standing: NodeStanding
    foreign: int = 0
    unshared: int = 0  # held by a run that shares with nobody
    shared: int = 0
    holders: list[tuple[int, Running]] = field(default_factory=list)
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class _Ready:
    """When a node will have enough slots for a run, if nothing else takes them."""

    time: float  # infinite: unknown
    blockers: float  # runs that have to end before; one that holds several nodes counts for its part on each
    candidate: Candidate
    slots: list[tuple[float, float, int]]  # time and blockers of each slot and its number, soonest first


@dataclass(slots=True)
class View:
    """The nodes as a run sees them that waits."""

    # Large enough, reachable, and not drained. Those that it is to avoid only where the others are too few.
    usable: list[Candidate]
    roomy: list[tuple[Candidate, int]] = field(default_factory=list)  # with enough free slots, kept or not, and which
    most_free: tuple[str, int] = ("", 0)  # the host with the most free slots, and how many
    ours: int = 0  # nodes with enough slots that nobody else holds
    holders: dict[str, Running] = field(default_factory=dict)  # of slots that it cannot share


class Occupancy:
    """The slots of the nodes at one moment. A node that nothing is said of stands there, free."""

    def __init__(self, nodes: Mapping[str, NodeStanding], running: Iterable[Running], now: float) -> None:
        self.now = now
        self._nodes = {key: _Node(standing, mask_of(standing.foreign)) for key, standing in nodes.items()}
        self._kept: list[Kept] = []
        self._views: dict[tuple[object, ...], View] = {}
        for run in running:
            self.hold(run)

    def hold(self, run: Running) -> None:
        """Enter a run that holds slots."""
        self._views.clear()
        for key, slots in run.slots.items():
            node, mask = self._node(key), mask_of(slots)
            if not mask:
                continue
            node.holders.append((mask, run))
            if run.share:
                node.shared |= mask
            else:
                node.unshared |= mask

    def standing(self, candidate: Candidate) -> NodeStanding:
        """What is known of a node."""
        return self._node(candidate.key).standing

    def view(self, want: Want) -> View:
        """Return the nodes as a run sees them that asks for this; worked out once for all that do, until one begins."""
        key = (id(want.candidates), want.fewest, want.slots, want.share, want.avoid)
        if key not in self._views:
            self._views[key] = self._view(want)
        return self._views[key]

    def kept_on(self, candidate: Candidate) -> Kept | None:
        """Return whom slots of a node are kept for."""
        return self._node(candidate.key).kept

    def fits(self, want: Want, ends: float) -> list[tuple[Candidate, int]]:
        """Return the nodes with enough slots for a run that is expected to end then, and which slots it may take."""
        found = []
        for candidate, free in self.view(want).roomy:
            kept = self._node(candidate.key).kept
            may = free if kept is None or ends <= kept.open_until else free & ~kept.slots[candidate.key]
            if may.bit_count() >= want.slots_on(candidate):
                found.append((candidate, may))
        return found

    def choose(self, want: Want, fits: Iterable[tuple[Candidate, int]]) -> list[tuple[Candidate, tuple[int, ...]]]:
        """Return what a run takes: as much as it may of the fullest nodes, so that free ones stay whole."""
        free = {candidate.key: mask.bit_count() for candidate, mask in self.view(want).roomy}
        fullest = sorted(fits, key=lambda fit: (fit[0].key in want.avoid, free[fit[0].key]))
        chosen = {candidate.key: self._pick(want, candidate, mask) for candidate, mask in fullest[: want.most]}
        return [(candidate, chosen[candidate.key]) for candidate in want.candidates if candidate.key in chosen]

    def keep(self, identity: str, turn: Turn, want: Want) -> None:
        """Keep slots for a run that waits, where it is expected to begin soonest.

        Nothing is kept for one that shares all its nodes with a run that comes first and has slots kept: its own time
        comes. Nor where it needs slots that somebody else holds.
        """
        usable = self.view(want).usable
        if any(kept.want.candidates is want.candidates or _all_among(usable, kept.want) for kept in self._kept):
            return
        ready = [self._ready(want, candidate) for candidate in usable if self._node(candidate.key).kept is None]
        # Fewest blockers break a tie, and decide where an end is unknown: they only become fewer on kept slots.
        found = sorted((each for each in ready if each is not None), key=lambda each: (each.time, each.blockers))
        if len(found) < want.fewest:
            return
        start = found[want.fewest - 1].time
        if math.isinf(start):
            chosen = {each.candidate.key: each.slots[: want.slots_on(each.candidate)] for each in found[: want.fewest]}
        else:
            # What is free before it can begin stays open to others.
            by_then = [each for each in found if each.time <= start]
            latest = sorted(by_then, key=lambda each: (-each.time, each.blockers))[: want.fewest]
            chosen = {
                each.candidate.key: [slot for slot in each.slots if slot[0] <= start][-want.slots_on(each.candidate) :]
                for each in latest
            }
        slots = {key: mask_of(number for _, _, number in numbered) for key, numbered in chosen.items()}
        kept = Kept(identity, turn, want, slots, min(start, self._open_until(turn, want, slots)))
        self._kept.append(kept)
        for key in slots:
            self._node(key).kept = kept

    def _view(self, want: Want) -> View:
        found = []
        for candidate in want.candidates:
            standing = self._node(candidate.key).standing
            if want.fits_on(candidate) and not standing.drained and standing.unreachable is None:
                found.append(candidate)
        others = [candidate for candidate in found if candidate.key not in want.avoid] if want.avoid else found
        view = View(others if len(others) >= want.fewest else found)
        for candidate in view.usable:
            node, every, needed = self._node(candidate.key), full(candidate.slots), want.slots_on(candidate)
            held = node.foreign | node.unshared
            free = every & ~(held if want.share else held | node.shared)
            if free.bit_count() > view.most_free[1]:
                view.most_free = (candidate.host, free.bit_count())
            if free.bit_count() >= needed:
                view.roomy.append((candidate, free))
            if (every & ~node.foreign).bit_count() >= needed:
                view.ours += 1
            for _, run in node.holders:
                if not (want.share and run.share):
                    view.holders[run.id] = run
        return view

    def _node(self, key: str) -> _Node:
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Node(NodeStanding())
        return node

    def _pick(self, want: Want, candidate: Candidate, mask: int) -> tuple[int, ...]:
        """Return the slots to take of those that a run may take: neighbours, out of the smallest gap that has them."""
        needed = want.slots_on(candidate)
        alone = mask & ~self._node(candidate.key).shared
        if alone.bit_count() >= needed:
            mask = alone
        else:
            # It shares with as few as it can.
            sharers = {slot: 0 for slot in numbers_of(mask)}
            for held, _ in self._node(candidate.key).holders:
                for slot in numbers_of(held & mask):
                    sharers[slot] += 1
            mask = mask_of(sorted(sharers, key=lambda slot: (sharers[slot], slot))[:needed])
        gap = min((gap for gap in _gaps(mask) if len(gap) >= needed), key=len, default=numbers_of(mask))
        return tuple(gap[:needed])

    def _ready(self, want: Want, candidate: Candidate) -> _Ready | None:
        node, count, needed = self._node(candidate.key), candidate.slots, want.slots_on(candidate)
        times, blockers = [self.now] * count, [0.0] * count
        for mask, run in node.holders:
            if want.share and run.share:
                continue
            end = math.inf if run.ends_at is None else run.ends_at
            part = 1.0 / (len(run.slots) * mask.bit_count())
            for slot in numbers_of(mask & full(count)):
                times[slot] = max(times[slot], end)
                blockers[slot] += part
        slots = [
            (time, part, slot)
            for slot, (time, part) in enumerate(zip(times, blockers, strict=True))
            if not node.foreign >> slot & 1
        ]
        if len(slots) < needed:
            return None
        slots.sort()
        return _Ready(slots[needed - 1][0], sum(part for _, part, _ in slots[:needed]), candidate, slots)

    def _open_until(self, turn: Turn, want: Want, slots: Mapping[str, int]) -> float:
        """Return until when others may use the slots that are kept for a run: while those hold them that came before.

        A run that overtook it counts until it said that it would end, however long it takes in truth. Else each
        that lasts longer than it said would let in the next.
        """
        until = self.now
        for key, mask in slots.items():
            for held, run in self._node(key).holders:
                if not held & mask or (want.share and run.share):
                    continue
                # What nobody knows is taken to last as long again as it has lasted.
                end = 2 * self.now - run.began_at if run.ends_at is None else run.ends_at
                if run.turn is None or (run.turn > turn and run.began_at >= turn.created_at):
                    end = min(end, run.began_at + (ASSUMED_SECONDS if run.seconds is None else run.seconds))
                until = max(until, end)
        return until


def _all_among(usable: Sequence[Candidate], want: Want) -> bool:
    keys = {candidate.key for candidate in want.candidates}
    return all(candidate.key in keys for candidate in usable)


def mask_of(numbers: Iterable[int]) -> int:
    """Return the set of these slots."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def numbers_of(mask: int) -> list[int]:
    """Return the slots of a set, ascending."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


def full(count: int) -> int:
    """Return the set of the first `count` slots."""
    return (1 << count) - 1


def _gaps(mask: int) -> Iterator[list[int]]:
    """Yield the slots of a set that lie side by side."""
    gap: list[int] = []
    for number in numbers_of(mask):
        if gap and number != gap[-1] + 1:
            yield gap
            gap = []
        gap.append(number)
    if gap:
        yield gap
