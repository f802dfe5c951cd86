"""One sentence that says why a run ended as it did."""

from __future__ import annotations

import re
import signal

from engine.dispatch.observation import RankEnd

_LONGEST = 240  # characters of a log line that a reason quotes
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
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
    last_words = telling_line(end.tail)
    return f"rank {end.rank} ({host}) {how}" + (f": {last_words}" if last_words else ".")


def agent_gone(host: str) -> str:
    """Say that a node knows no more of a run that it had."""
    return f"the agent of the run on {host} is gone without a record: {host} was restarted, or the agent was killed."


def waits_for(blocker: str, host: str) -> str:
    """Say what a queued run waits for."""
    return f"waits for {blocker} to free {host}"


def parent_failed(parent: str, state: str) -> str:
    """Say that a run cannot start because one that it builds on did not succeed."""
    return f"{parent}, which it comes after, ended as {state}."
