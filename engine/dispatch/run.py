"""One attempt that has not ended, as this dispatcher sees it: its nodes, what it asked of them, what came back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.cluster.hostfile import Node
from engine.cluster.link import NodeLink
from engine.dispatch.collection import Collection
from engine.dispatch.decide import End, Signal, Stage, Start, decide
from engine.dispatch.job import PACKAGES, job_document, require_equal_versions
from engine.dispatch.mirror import Mirror, OffsetMismatch
from engine.dispatch.observation import Exit, NodeView, Phase, RankEnd, Why
from engine.dispatch.placement import Seat
from engine.errors import ExitCode, PlumblineError, Refused
from engine.spec.canonical import to_yaml
from engine.spec.models import AnySpec
from engine.spec.resolve import input_paths
from engine.store import attempts, events
from engine.store.database import Store
from engine.telemetry.records import Level
from engine.telemetry.states import Desired, State

AGAIN_SECONDS = 3.0  # between two signals, or two tries to write
STAGE_SECONDS = 90.0  # the longest that a node may take to lay everything ready
HEARD_SECONDS = 2.0  # between two notes in the database that a node was heard

Complain = Callable[[str], None]


@dataclass(slots=True)
class _Seated:
    """A node of the attempt, and what is known of it since the link last came up."""

    seat: Seat
    node: Node
    link: NodeLink
    since: float  # monotonic seconds, when one began to call it
    phase: Phase = Phase.UNKNOWN
    exit: Exit | None = None
    all_sent: bool = False  # it has ended there, and all that it wrote was sent
    followed: bool = False
    staged: Mapping[str, Any] | None = None  # the answer to `stage`
    asked_at: float = -math.inf  # for staging
    signalled: tuple[str, float] = ("", -math.inf)
    noted: tuple[str | None, float] = (None, -math.inf)  # what the database was last told, and when
    lost: bool = False  # an event tells of lost contact

    @property
    def problem(self) -> str | None:
        """Why it is silent; the host is named by whoever tells it."""
        error = self.link.problem
        return None if error is None else f"{error.message} {error.hint or ''}".strip()

    @property
    def silent_seconds(self) -> float:
        heard = self.link.heard_at
        return time.monotonic() - max(self.since, heard if heard is not None else self.since)


class Run:
    """One attempt. Whatever it remembers can be asked of the nodes again; what must last is in the database."""

    def __init__(
        self,
        store: Store,
        *,
        experiment: str,
        attempt: attempts.Attempt,
        spec: AnySpec,
        seats: Sequence[tuple[Seat, Node, NodeLink]],
        complain: Complain,
    ) -> None:
        self.experiment, self.number = experiment, attempt.number
        self.desired = Desired.RUN
        self.ended = False
        self._store, self._spec, self._complain = store, spec, complain
        self._run_dir, self._state = attempt.run_dir, attempt.state
        self._mirror = Mirror(store.runs_dir / self.experiment)
        self._mirror.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._original = self._mirror.is_original(self._run_dir)
        self._collection = Collection(store, self.experiment, self._mirror, complain)
        now = time.monotonic()
        self._seated = [_Seated(seat, node, link, since=now) for seat, node, link in seats]
        self._blocked_until = 0.0  # this machine could not write

    @property
    def links(self) -> set[NodeLink]:
        """The links it uses."""
        return {seated.link for seated in self._seated}

    @property
    def hosts(self) -> list[str]:
        """The nodes it holds."""
        return [seated.seat.host for seated in self._seated]

    def link_up(self, link: NodeLink) -> None:
        """The link came up: all that was asked on an earlier connection must be asked again."""
        for seated in self._of(link):
            seated.followed, seated.phase, seated.exit = False, Phase.UNKNOWN, None
            seated.asked_at, seated.signalled = -math.inf, ("", -math.inf)
            if seated.lost:
                seated.lost = False
                self._tell(f"{seated.seat.host} answers again.", "contact_regained")

    def link_down(self, link: NodeLink) -> None:
        """The link went down, or another try failed. What runs there may well go on."""
        for seated in self._of(link):
            self._note(seated, seated.problem)
            if self._state is State.RUNNING and not seated.lost:
                seated.lost = True
                self._tell(f"lost contact with {seated.seat.host}: {seated.problem}", "contact_lost", Level.WARNING)

    def hear(self, index: int, header: Mapping[str, Any], data: bytes) -> None:
        """Take in what the companion on a node, by its index, sent for this run."""
        seated = self._seated[index]
        if "file" in header:
            self._copy(seated, header, data)
        elif "phase" in header:
            seated.phase = Phase(header["phase"])
            seated.exit = self._exit(header["exit"]) if seated.phase is Phase.EXITED else None
        elif header.get("drained"):
            seated.all_sent = True
        elif header["reply"][1] == "stage":
            seated.staged = header
        elif "problem" in header:
            seated.phase = Phase.EXITED
            seated.exit = Exit(
                Why.RANK_FAILED, time.time(), RankEnd(seated.seat.first_rank, None, None, header["problem"])
            )

    def step(self) -> None:
        """Bring in what came, and take one step toward what should be."""
        now = time.monotonic()
        self._collect(now)
        for seated in self._seated:
            self._keep_following(seated, now)
            if seated.link.connected and now >= self._blocked_until:
                self._note(seated, None)
        if self._state is State.STARTING and all(
            seated.phase in (Phase.ALIVE, Phase.EXITED) for seated in self._seated
        ):
            self._move(State.RUNNING)
        action = decide(self._state, self.desired, [self._view(seated) for seated in self._seated])
        if isinstance(action, Stage):
            self._stage(now)
        elif isinstance(action, Start):
            self._start(now)
        elif isinstance(action, Signal):
            self._signal(action, now)
        elif isinstance(action, End):
            self._end(action)

    def release(self) -> None:
        """Ask the nodes to send no more."""
        for seated in self._seated:
            seated.link.request("unfollow", run=self._key(seated))

    def _of(self, link: NodeLink) -> list[_Seated]:
        return [seated for seated in self._seated if seated.link is link]

    def _key(self, seated: _Seated) -> str:
        return f"{self.experiment}/{self.number}/{seated.seat.index}"

    def _where(self, seated: _Seated) -> dict[str, Any]:
        return {"run_dir": self._run_dir, "attempt": self.number, "node": seated.seat.index}

    def _view(self, seated: _Seated) -> NodeView:
        everything_in = seated.seat.index != 0 or self._collection.complete
        return NodeView(
            host=seated.seat.host,
            phase=seated.phase,
            exit=seated.exit,
            drained=seated.all_sent and everything_in,
            connected=seated.link.connected,
            silent_seconds=seated.silent_seconds,
            problem=seated.problem,
        )

    def _exit(self, document: Any) -> Exit:
        try:
            return Exit.from_document(document)
        except ValueError as error:
            return Exit(Why.RANK_FAILED, time.time(), RankEnd(0, None, None, f"error: {error}"))

    def _keep_following(self, seated: _Seated, now: float) -> None:
        if seated.followed or not seated.link.connected or self._state is State.STAGING or now < self._blocked_until:
            return
        seated.followed, seated.all_sent = True, False
        sizes = {} if self._original else self._mirror.sizes(self.number, seated.seat.index)
        seated.link.request(
            "follow", run=self._key(seated), sizes=sizes, copy=not self._original, **self._where(seated)
        )

    def _copy(self, seated: _Seated, header: Mapping[str, Any], data: bytes) -> None:
        if not seated.followed:
            return  # it was sent before a new start was asked for
        try:
            self._mirror.append(
                header["file"],
                header["offset"],
                data,
                restarted=header["restarted"],
                skipped=header["skipped"],
            )
        except OffsetMismatch:
            seated.followed = False
        except OSError as error:
            seated.followed = False
            self._blocked_until = time.monotonic() + AGAIN_SECONDS
            self._note(seated, f"this machine cannot write {error.filename or header['file']}: {error.strerror}")
        except PlumblineError as error:
            self._complain(f"{seated.seat.host}: {error}")

    def _collect(self, now: float) -> None:
        if now < self._blocked_until:
            return
        try:
            self._collection.collect()
        except PlumblineError as error:
            self._blocked_until = now + AGAIN_SECONDS
            self._complain(str(error))

    def _stage(self, now: float) -> None:
        """Lay everything ready, on node 0 first: the others look whether they see what it wrote."""
        first, *others = self._seated
        for seated in [first] if first.staged is None else others:
            self._ask_to_stage(seated, now)
        for seated in self._seated:
            problem = None if seated.staged is None else seated.staged.get("problem")
            if problem is not None:
                self._end(End(State.FAILED, ExitCode.REFUSED, f"{seated.seat.host} {problem}."))
                return
        replies = [seated.staged for seated in self._seated if seated.staged is not None]
        if len(replies) == len(self._seated):
            try:
                require_equal_versions([reply["versions"] for reply in replies], self.hosts)
            except Refused as error:
                self._end(End(State.FAILED, error.exit_code, str(error)))
            else:
                self._move(State.STARTING)

    def _ask_to_stage(self, seated: _Seated, now: float) -> None:
        if seated.staged is not None or now - seated.asked_at < STAGE_SECONDS:
            return
        seated.asked_at = now
        seated.link.request(
            "stage",
            id=[self._key(seated), "stage"],
            shared={"spec.yaml": to_yaml(self._spec)},
            inputs=[str(path) for path in input_paths(self._spec)],
            python=seated.node.python,
            packages=list(PACKAGES),
            port_on=seated.link.address if seated.seat.index == 0 else None,
            **self._where(seated),
        )

    def _start(self, now: float) -> None:
        first = self._seated[0]
        if first.staged is None:  # another dispatcher laid it ready; node 0 still knows the port
            self._ask_to_stage(first, now)
            return
        for seated in self._seated:
            if seated.phase is Phase.ABSENT:
                job = job_document(
                    [each.seat for each in self._seated],
                    seated.seat,
                    seated.node,
                    self._spec.placement,
                    attempt=self.number,
                    address=first.link.address,
                    port=int(first.staged["port"]),
                )
                # Until the node says again how it stands, an agent may be there or not.
                seated.phase = Phase.UNKNOWN
                seated.link.request(
                    "start",
                    id=[self._key(seated), "start"],
                    python=seated.node.python,
                    job=job,
                    **self._where(seated),
                )

    def _signal(self, action: Signal, now: float) -> None:
        for index in action.nodes:
            seated = self._seated[index]
            name, at = seated.signalled
            if name != action.name or now - at > AGAIN_SECONDS:
                seated.signalled = (action.name, now)
                seated.link.request("signal", name=action.name, **self._where(seated))

    def _move(self, state: State) -> None:
        attempts.transition(self._store, self.experiment, self.number, state)
        self._state = state

    def _end(self, end: End) -> None:
        attempts.transition(
            self._store, self.experiment, self.number, end.state, reason=end.reason, exit_code=end.exit_code
        )
        self._state, self.ended = end.state, True

    def _note(self, seated: _Seated, problem: str | None) -> None:
        """Tell the database when the node was last heard, and why it is silent."""
        now = time.monotonic()
        said, at = seated.noted
        if said == problem and (problem is not None or now - at < HEARD_SECONDS):
            return
        seated.noted = (problem, now)
        heard = time.time() - seated.silent_seconds if seated.link.heard_at is not None else None
        attempts.hear(self._store, self.experiment, self.number, seated.seat.index, seated.seat.host, heard, problem)

    def _tell(self, message: str, event: str, level: Level = Level.INFO) -> None:
        events.add(self._store, self.experiment, self.number, event, message, level=level)
