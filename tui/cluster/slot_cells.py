"""What stands in the grid of slots: for each node its name, a cell a slot, and at the end how the node stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.telemetry.numbers import duration
from tui.canvas.charset import current
from tui.standing import SILENT_AFTER
from tui.text.safe import visible

if TYPE_CHECKING:
    from engine.dispatch.slot_map import NodeSlots, Slot, SlotMap

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
INKS = 8  # of runs
FREE, FOREIGN, FAULT, OLD, UNKNOWN = "free", "foreign", "fault", "old", "unknown"
Span = tuple[str, str]  # ink, text


@dataclass(frozen=True, slots=True)
class GridCell:
    """A slot: one character that says whose it is, and up to four that say how busy it is."""

    owner: str
    load: str
    ink: str
    straggles: bool = False


@dataclass(frozen=True, slots=True)
class GridNode:
    """A line of the grid."""

    host: str
    cells: Sequence[GridCell]
    notes: Sequence[Span]  # what matters most first


def letters(slot_map: SlotMap, marked: Callable[[str], str | None]) -> dict[str, str]:
    """Return the letter of each run: that of its mark, where it has one, else the next that is free."""
    found = {run.id: letter for run in slot_map.runs if (letter := marked(run.id)) is not None}
    rest = (letter for letter in _ALPHABET if letter not in found.values())
    return {run.id: found.get(run.id) or next(rest, "?") for run in slot_map.runs}


def grid(slot_map: SlotMap, names: Mapping[str, str], now: float) -> list[GridNode]:
    """Return the lines of the grid. names: letters of the runs. now: seconds since the epoch."""
    inks = {run.id: f"run-{place % INKS}" for place, run in enumerate(slot_map.runs)}
    return [_line(node, names, inks, now) for node in slot_map.nodes]


def silent_seconds(node: NodeSlots, now: float) -> float | None:
    """Return for how long a node has been silent that should be heard; null: it is well, or nobody listens to it."""
    if not node.watched:
        return None
    since = now - node.heard_at if node.heard_at is not None else float("inf")
    return since if node.message is not None or since > SILENT_AFTER else None


def _line(node: NodeSlots, names: Mapping[str, str], inks: Mapping[str, str], now: float) -> GridNode:
    old = silent_seconds(node, now) is not None
    return GridNode(visible(node.host), [_cell(slot, node, names, inks, old) for slot in node.slots], notes(node, now))


def _cell(slot: Slot, node: NodeSlots, names: Mapping[str, str], inks: Mapping[str, str], old: bool) -> GridCell:
    charset = current()
    load = _load(slot.busy_percent)
    if slot.fault is not None:
        owner = charset.gap if slot.seating is None else names.get(slot.seating.experiment_id, "?")
        sign = "" if slot.seating is None else charset.gap
        return GridCell(owner, sign + ("XID" if slot.gpu.get("xid") else "ECC"), FAULT)
    if slot.seating is not None:
        identity = slot.seating.experiment_id
        ink = OLD if old else inks.get(identity, "run-0")
        return GridCell(names.get(identity, "?"), load, ink, slot.seating.straggles is not None)
    if slot.foreign is not None:
        return GridCell("#", load, FOREIGN)
    known = bool(node.standing) or node.heard_at is not None
    if not known:
        return GridCell("?", "", UNKNOWN)
    return GridCell(charset.separator, load if slot.gpu and slot.busy_percent else "", FREE)


def _load(percent: float | None) -> str:
    """Return a bar and a number, four cells at most."""
    if percent is None:
        return ""
    bars = current().spark[:-1]  # the full block would join those of the nodes above and below
    return f"{bars[round(min(max(percent, 0.0), 100.0) / 100 * (len(bars) - 1))]}{min(round(percent), 999)}"


def notes(node: NodeSlots, now: float) -> list[Span]:
    """Return how a node stands, what matters most first."""
    standing = node.standing
    found: list[Span] = []
    silent = silent_seconds(node, now)
    if node.drained:
        found.append(("warning", "drained"))
    if silent is not None:
        found.append(("error", f"silent {duration(silent)}" if silent < float("inf") else "not heard yet"))
    elif node.heard_at is None:
        found.append(("quiet", "never heard"))
    hot = [gpu["temperature_c"] for gpu in standing.get("gpus") or () if gpu.get("temperature_c") is not None]
    if hot:
        found.append(("quiet", f"{max(hot):.0f}°"))
    cpu = standing.get("cpu") or {}
    if cpu.get("percent") is not None:
        found.append(("quiet", f"cpu {cpu['percent']:.0f}%"))
    network = standing.get("network") or {}
    if "in_bytes_per_second" in network or "out_bytes_per_second" in network:
        most = max(network.get("in_bytes_per_second", 0), network.get("out_bytes_per_second", 0))
        found.append(("quiet", rate(most)))
    if standing.get("problems"):
        found.append(("warning", f"{len(standing['problems'])} problem{'s' if len(standing['problems']) > 1 else ''}"))
    if silent is None and node.heard_at is not None:
        ago = duration(now - node.heard_at)
        found.append(("quiet", ago if node.watched else f"seen {ago} ago"))
    return found


def rate(bytes_per_second: Any) -> str:
    """Return a pace of the network as people say it: "9.1 Gb/s"."""
    bits = 8.0 * float(bytes_per_second)
    for unit in ("b/s", "kb/s", "Mb/s"):
        if bits < 999.5:
            return f"{bits:.0f} {unit}"
        bits /= 1000
    return f"{bits:.1f} Gb/s"
