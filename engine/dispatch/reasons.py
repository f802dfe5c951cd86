"""One sentence that says why a run ended as it did."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping
from typing import Any

from engine.dispatch.observation import RankEnd

FULL_DISK_BYTES = 1 << 20  # with less, what a rank has to write does not fit
_LONGEST = 240  # characters of a log line that a reason quotes
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MEMORY = re.compile(r"^error: (CUDA out of memory at step .*?)\s*$", re.MULTILINE)
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Timeout|Exit)\b")


def telling_line(log: str) -> str:
    """Return the line of a log's end that best says what went wrong; empty if there is none.

    The last line that begins with "error:", else the last that begins with the name of an exception, else the last one.
    """
    lines = [line.strip() for line in _CONTROL.sub("", log.replace("\r", "\n")).splitlines()]
    lines = [line for line in lines if line]
    told = [line for line in lines if line.lower().startswith("error:")]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    line = next((found[-1] for found in (told, raised, lines) if found), "")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def signal_name(number: int) -> str:
    """Return the name of a signal: SIGKILL of 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def rank_failed(host: str, end: RankEnd) -> str:
    """Say which rank failed where, how, and its last words."""
    if end.signal is not None:
        how = f"was killed by {signal_name(end.signal)}"
    elif end.code is not None:
        how = f"exited with code {end.code}"
    else:
        how = "could not be started"
    place = host if end.slot is None else f"{host}, slot {end.slot}"
    memory = _MEMORY.search(end.tail)
    if memory is not None:
        return f"rank {end.rank} ({place}): {memory[1]}"
    if end.disk_free_bytes is not None and end.disk_free_bytes < FULL_DISK_BYTES:
        return f"rank {end.rank} ({place}) {how}: the disk of {host} is full; free some, and resume it."
    last_words = telling_line(end.tail)
    at = "" if end.step is None or end.signal is None else f" at step {end.step}"
    return f"rank {end.rank} ({place}) {how}{at}" + (f": {last_words}" if last_words else ".")


def agent_gone(host: str, *, killed: bool) -> str:
    """Say that the agent of a run is dead. killed: it left somebody behind who said so."""
    if killed:
        return f"the agent of the run on {host} was killed; its ranks were ended."
    return f"the agent of the run on {host} is gone without a record: {host} was restarted, or the agent was killed."


def node_lost(host: str, seconds: float, problem: str | None) -> str:
    """Say that a node was silent for longer than the spec allows."""
    return f"{host} is lost: nothing was heard of it for {seconds:.0f} s{'' if problem is None else f' ({problem})'}."


def slots_taken(host: str, taken: Mapping[int, Mapping[str, Any]]) -> str:
    """Say who holds the slots that a run was to take."""
    slots = ", ".join(map(str, sorted(taken)))
    holders = sorted({holder_name(holder) for holder in taken.values()})
    return f"slot {slots} of {host} is held by {' and '.join(holders)}" if holders else f"a slot of {host} is held"


def holder_name(holder: Mapping[str, Any]) -> str:
    """Return "anna@desk: ppo-0012" of what a lease says of its holder, which another program wrote."""
    who = "@".join(str(holder[key]) for key in ("user", "host") if holder.get(key))
    what = str(holder.get("experiment") or "")
    return _CONTROL.sub("", ": ".join(part for part in (who, what) if part))[:_LONGEST] or "somebody else"


def parent_failed(parent: str, state: str) -> str:
    """Say that a run cannot start because one that it builds on did not succeed."""
    return f"{parent}, which it comes after, ended as {state}."


def tries_again(at: float, faults: int, retries: int, reason: str | None) -> str:
    """Say when and why a run is tried again. at: seconds since the epoch; faults: the how many-th this is."""
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    return f"tries again at {clock} ({faults} of {retries}): {reason or 'its attempt ended'}"
