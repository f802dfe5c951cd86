"""What is known of a run's nodes, as plain values: the eyes of `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.cluster.slurm import Ending


class Why(StrEnum):
    """How a node's share of a run ended, in the words of its exit record."""

    OK = "ok"
    RANK_FAILED = "rank_failed"
    INTERRUPTED = "interrupted"  # at a checkpoint, as it was asked to
    STOPPED = "stopped"  # at once
    AGENT_KILLED = "agent_killed"  # the agent was killed; its undertaker ended the ranks
    SLOTS_TAKEN = "slots_taken"  # nothing was started: somebody else holds slots that it was to take


class Phase(StrEnum):
    """Where the agent of a run stands on one node."""

    UNKNOWN = "unknown"  # not heard of by this dispatcher
    ABSENT = "absent"  # no agent was started there
    PENDING = "pending"  # Slurm has not started it
    ALIVE = "alive"
    EXITED = "exited"  # left its exit record
    GONE = "gone"  # was started, and is dead without a record


@dataclass(frozen=True, slots=True)
class RankEnd:
    """How one rank ended. Either code or signal; neither if it could not be started."""

    rank: int
    code: int | None
    signal: int | None
    tail: str = ""  # end of its log
    slot: int | None = None
    step: int | None = None  # that it was in
    disk_free_bytes: int | None = None  # of the run directory's disk at its end


@dataclass(frozen=True, slots=True)
class Exit:
    """A node's exit record."""

    why: Why
    time: float  # seconds since the epoch by the node's clock
    first: RankEnd | None = None  # the rank that failed first
    taken: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # slot → who holds it, with SLOTS_TAKEN

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Exit:
        """Return the record that stands in an exit.json. Raises ValueError if it is none."""
        try:
            first = document.get("first")
            return cls(
                Why(document["why"]),
                float(document["time"]),
                None if first is None else _rank_end(first),
                {int(slot): dict(holder) for slot, holder in (document.get("taken") or {}).items()},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"the exit record cannot be read: {error!r}") from error


def _rank_end(first: Mapping[str, Any]) -> RankEnd:
    def number(key: str) -> int | None:
        value = first.get(key)
        return None if value is None else int(value)

    tail = str(first.get("tail") or "")
    code, signal, slot, step = (number(key) for key in ("code", "signal", "slot", "step"))
    return RankEnd(int(first["rank"]), code, signal, tail, slot, step, number("disk_free_bytes"))


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node of a run, as it is known at a moment."""

    host: str
    phase: Phase = Phase.UNKNOWN
    exit: Exit | None = None  # with phase EXITED
    drained: bool = False  # all that the run wrote there is in the mirror and the database
    connected: bool = True
    silent_seconds: float = 0.0  # since it was last heard, or since one began to call it
    problem: str | None = None  # why it is silent
    lasting: bool = False  # the problem does not go away by itself: a key that is refused, say
    swept: bool = False  # with phase GONE: what the agent left behind was ended
    ending: Ending | None = None  # how Slurm ended it, where Slurm did

    @property
    def ended(self) -> bool:
        """Whether nothing of the run lives there any more."""
        return self.phase is Phase.EXITED or (self.phase is Phase.GONE and self.swept)
