"""The nodes of one attempt together, and the two ways to start and signal their agents: on each node, or by Slurm."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.cluster.hostfile import Slurm
from engine.cluster.slurm import batch_script, job_name, template
from engine.cluster.staging import Staged
from engine.dispatch.decide import Signal
from engine.dispatch.job import job_document
from engine.dispatch.observation import Phase
from engine.dispatch.seated import Seated
from engine.spec.models import AnySpec

AGAIN_SECONDS = 3.0  # between two signals, or two tries


@dataclass(frozen=True, slots=True)
class Gang:
    """The nodes of one attempt, and how they are asked."""

    experiment: str
    number: int  # of the attempt
    run_dir: str  # on the nodes
    spec: AnySpec
    holder: Mapping[str, str]  # what the leases of their slots say
    seated: Sequence[Seated]

    def key(self, seated: Seated) -> str:
        """Return what names a node of the attempt in requests and answers."""
        return f"{self.experiment}/{self.number}/{seated.seat.index}"

    def ask(self, seated: Seated, operation: str, **arguments: Any) -> None:
        """Send a request about the attempt to a node."""
        where = {"run_dir": self.run_dir, "attempt": self.number, "node": seated.seat.index}
        seated.link.request(operation, **arguments, **where)

    def job(self, seated: Seated, *, address: str, port: int, code: str | None) -> dict[str, Any]:
        """Return what the agent of a node is told. address, port: where the ranks meet; code: folder on the node."""
        return job_document(
            [each.seat for each in self.seated],
            seated.seat,
            seated.node,
            self.spec,
            attempt=self.number,
            address=address,
            port=port,
            code=code,
            holder=self.holder,
        )


class Launcher(Protocol):
    """Starts the agents of an attempt whose nodes are ready, and signals them. Both may be asked for twice."""

    def start(self, staged: Staged) -> None:
        """Start the agents that have not been started."""
        ...

    def signal(self, action: Signal) -> None:
        """Pass a signal to agents."""
        ...


class OnEachNode:
    """The companion on each node starts an agent there."""

    def __init__(self, gang: Gang) -> None:
        self._gang = gang

    def start(self, staged: Staged) -> None:
        """See `Launcher`."""
        gang, first = self._gang, self._gang.seated[0]
        assert first.staged is not None
        for seated, code in zip(gang.seated, staged.code_on, strict=True):
            if seated.phase is Phase.ABSENT:
                job = gang.job(seated, address=first.link.address, port=int(first.staged["port"]), code=code)
                # Until the node says again how it stands, an agent may be there or not.
                seated.phase = Phase.UNKNOWN
                gang.ask(seated, "start", id=[gang.key(seated), "start"], python=seated.node.python, job=job)

    def signal(self, action: Signal) -> None:
        """See `Launcher`."""
        now = time.monotonic()
        for index in action.nodes:
            seated = self._gang.seated[index]
            name, at = seated.signalled
            if name != action.name or now - at > AGAIN_SECONDS:
                seated.signalled = (action.name, now)
                self._gang.ask(seated, "signal", name=action.name)


class BySlurm:
    """One job of Slurm's starts an agent on each of the nodes that Slurm gives it."""

    def __init__(self, gang: Gang, slurm: Slurm) -> None:
        self._gang, self._slurm = gang, slurm
        self._asked: tuple[str, float] = ("", -math.inf)  # for what, and when

    def start(self, staged: Staged) -> None:
        """See `Launcher`. What was submitted before is not submitted again."""
        gang, first = self._gang, self._gang.seated[0]
        if first.phase is not Phase.ABSENT:
            return
        name, slots = job_name(gang.run_dir, gang.number), first.seat.slots
        script = batch_script(
            self._slurm,
            first.node.python,
            name=name,
            about=gang.experiment,
            attempt=gang.number,
            nodes=len(gang.seated),
            slots=slots,
            threads=gang.spec.placement.threads,
        )
        job = template(self._slurm, gang.job(first, address="", port=0, code=staged.code_on[0]), slots)
        more = {"python": first.node.python, "commands": self._slurm.commands}
        self._ask("slurm_submit", name=name, script=script, job=job, **more)

    def signal(self, action: Signal) -> None:
        """See `Launcher`."""
        self._ask("slurm_stop", name=action.name)

    def _ask(self, operation: str, *, name: str, **more: Any) -> None:
        now, (what, at) = time.monotonic(), self._asked
        if what == operation + name and now - at <= AGAIN_SECONDS:
            return
        self._asked = (operation + name, now)
        first = self._gang.seated[0]
        where = {"run_dir": self._gang.run_dir, "attempt": self._gang.number}
        first.link.request(operation, id=[self._gang.key(first), "slurm"], name=name, **where, **more)
