"""One node of an attempt, and what is known of it since the link to it last came up."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.cluster.hostfile import Node
from engine.cluster.link import NodeLink
from engine.cluster.slurm import ending
from engine.dispatch.observation import Exit, NodeView, Phase
from engine.dispatch.placement import Seat
from engine.errors import Barred, PlumblineError, Unreachable


def lasts(error: PlumblineError) -> bool:
    """Whether a problem with a link does not go away by itself."""
    return isinstance(error, Barred) or not isinstance(error, Unreachable)


@dataclass(slots=True)
class Seated:
    """A node of the attempt. Whatever stands here can be asked of the node again."""

    seat: Seat
    node: Node
    link: NodeLink
    since: float  # monotonic seconds, when one began to call it
    phase: Phase = Phase.UNKNOWN
    exit: Exit | None = None
    all_sent: bool = False  # it has ended there, and all that it wrote was sent
    swept: bool = False  # it is gone there, and what it left behind was ended
    followed: bool = False
    turn: int = 0  # requests to follow so far
    staged: Mapping[str, Any] | None = None  # the answer to `stage`
    pulse: Mapping[str, Any] | None = None  # how the ranks stood, not yet in the database
    asked_at: float = -math.inf  # for staging
    swept_at: float = -math.inf  # asked for sweeping
    signalled: tuple[str, float] = ("", -math.inf)
    noted: tuple[str | None, float] = (None, -math.inf)  # what the database was last told, and when
    lost: bool = False  # an event tells of lost contact
    slurm: Mapping[str, Any] | None = None  # its job as Slurm knows it, where Slurm started it

    @property
    def host(self) -> str:
        """The node's name."""
        return self.seat.host

    @property
    def problem(self) -> str | None:
        """Why it is silent; the host is named by whoever tells it."""
        error = self.link.problem
        return None if error is None else f"{error.message} {error.hint or ''}".strip()

    @property
    def silent_seconds(self) -> float:
        """Since it was last heard, or since one began to call it."""
        heard = self.link.heard_at
        return time.monotonic() - max(self.since, heard if heard is not None else self.since)

    def forget(self) -> None:
        """All that was asked on an earlier connection must be asked again."""
        self.followed, self.phase, self.exit, self.swept = False, Phase.UNKNOWN, None, False
        self.asked_at, self.swept_at, self.signalled = -math.inf, -math.inf, ("", -math.inf)

    def view(self, *, everything_in: bool) -> NodeView:
        """Return it as `decide` sees it. everything_in: what the run wrote there is in the database."""
        error = self.link.problem
        return NodeView(
            host=self.host,
            phase=self.phase,
            exit=self.exit,
            drained=self.all_sent and everything_in,
            connected=self.link.connected,
            silent_seconds=self.silent_seconds,
            problem=self.problem,
            lasting=error is not None and lasts(error),
            swept=self.swept,
            ending=None if self.slurm is None else ending(self.slurm),
        )
