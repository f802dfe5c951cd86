"""One sentence that says why a run waits. The same facts give the same sentence, from one look to the next."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence

from engine.dispatch.occupancy import Kept, Occupancy, View
from engine.dispatch.placement import Want
from engine.dispatch.turns import Turn

_MOST_NAMED = 3  # nodes, or holders, that a sentence names
_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]*)")
_HOUR = 3600.0


def for_nodes(want: Want, occupancy: Occupancy) -> str:
    """Say which nodes are drained or cannot be reached, without which they are too few."""
    usable = len(occupancy.view(want).usable)
    away = []
    for candidate in want.candidates:
        standing = occupancy.standing(candidate)
        if not want.fits_on(candidate):
            continue
        if standing.drained:
            away.append(f"{candidate.host} is drained")
        elif standing.unreachable is not None:
            away.append(f"{candidate.host} cannot be reached: {standing.unreachable.rstrip('.')}")
    if len(away) == 1 and usable + 1 == want.fewest == len(want.candidates):
        return away[0]
    return f"needs {needed(want)}, {_number(usable)} can be used: {_listed(away, '; ')}"


def for_others(want: Want, occupancy: Occupancy) -> str:
    """Say who else holds slots, without which they are too few."""
    told = []
    for candidate in occupancy.view(want).usable:
        holders: dict[str, list[int]] = {}
        for slot, holder in sorted(occupancy.standing(candidate).foreign.items()):
            if slot < candidate.slots:
                holders.setdefault(holder, []).append(slot)
        for holder, slots in holders.items():
            noun, verb = ("slot", "is") if len(slots) == 1 else ("slots", "are")
            told.append(f"{noun} {_ranges(slots)} of {candidate.host} {verb} held by {holder}")
    return _listed(told, "; ")


def for_slots(want: Want, occupancy: Occupancy, turn: Turn) -> str:
    """Say what a run needs and what is free, or who comes first."""
    view = occupancy.view(want)
    if len(view.roomy) >= want.fewest:
        for candidate, mask in view.roomy:
            kept = occupancy.kept_on(candidate)
            if kept is not None and kept.slots[candidate.key] & mask:
                return _behind(kept, turn)
    if want.most > 1 or want.slots is None:
        there = f"{_number(len(view.roomy))} free"
    else:
        host, count = view.most_free
        there = f"{count} free on {host}" if count else "none free"
    return f"needs {needed(want)}, {there}{_until(view, occupancy.now)}"


def needed(want: Want) -> str:
    """Say what a run asks for: "4 nodes", "8 slots on one node", "2 to 4 nodes with 1 slot each"."""
    if want.slots is not None and want.most == 1:
        return "1 slot" if want.slots == 1 else f"{want.slots} slots on one node"
    count = f"{want.most}" if want.fewest == want.most else f"{want.fewest} to {want.most}"
    nodes = f"{count} {'node' if want.most == 1 else 'nodes'}"
    if want.slots is None:
        return nodes
    return f"{nodes} with {want.slots} {'slot' if want.slots == 1 else 'slots'} each"


def clock(at: float, now: float) -> str:
    """Return a time as people here read it: "02:10"; with its day if it is more than 18 hours ahead."""
    return time.strftime("%H:%M" if at - now < 18 * _HOUR else "%a %d %b %H:%M", time.localtime(at))


def about(at: float, now: float) -> str:
    """Return an expected time, rounded up so far that it does not change all the time: "≈ 02:10"."""
    ahead = at - now
    minutes = 5 if ahead < 2 * _HOUR else 15 if ahead < 12 * _HOUR else 60
    offset = time.localtime(at).tm_gmtoff
    rounded = math.ceil((at + offset) / (60 * minutes)) * 60 * minutes - offset
    return f"≈ {clock(rounded, now)}"


def _behind(kept: Kept, turn: Turn) -> str:
    hosts = [candidate.host for candidate in kept.want.candidates]
    what = hosts_in_words(hosts) if kept.want.fewest == len(hosts) and kept.want.slots is None else needed(kept.want)
    first = "came first" if kept.turn.created_at <= turn.created_at else "has the higher priority"
    return f"behind {kept.id}, which {first} and needs {what}"


def _until(view: View, now: float) -> str:
    ends = [(run.ends_at, run.id) for run in view.holders.values() if run.ends_at is not None and run.ends_at > now]
    if ends:
        at, identity = min(ends)
        return f"; next end {about(at, now)}, {identity}"
    return f"; held by {_listed(sorted(view.holders), ', ')}" if view.holders else ""


def hosts_in_words(hosts: Sequence[str]) -> str:
    """Return the names of nodes: "node-1..4", or "a, b and 2 more"."""
    if len(hosts) > 2:
        found = [_NUMBERED.fullmatch(host) for host in hosts]
        numbers = [int(match[2]) for match in found if match is not None]
        stems = {match[1] for match in found if match is not None}
        if len(stems) == 1 and numbers == list(range(numbers[0], numbers[0] + len(hosts))):
            return f"{stems.pop()}{numbers[0]}..{numbers[-1]}"
    return _listed(hosts, ", ")


def _listed(words: Sequence[str], separator: str) -> str:
    if len(words) <= _MOST_NAMED:
        return separator.join(words)
    return f"{separator.join(words[: _MOST_NAMED - 1])} and {len(words) - _MOST_NAMED + 1} more"


def _ranges(slots: Sequence[int]) -> str:
    """Return numbers, ascending, as people write them: "0-3, 6"."""
    parts: list[list[int]] = []
    for slot in slots:
        if parts and slot == parts[-1][-1] + 1:
            parts[-1].append(slot)
        else:
            parts.append([slot])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def _number(count: int) -> str:
    return str(count) if count else "none"
