"""One attempt that has not ended, as this dispatcher sees it: its nodes, what it asked of them, what came back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.cluster.hostfile import Node, Slurm
from engine.cluster.link import NodeLink
from engine.cluster.preflight import Here
from engine.cluster.slurm import waiting
from engine.dispatch import reasons
from engine.dispatch.collection import Collection
from engine.dispatch.decide import End, Signal, Stage, Start, decide
from engine.dispatch.faults import pause_seconds
from engine.dispatch.gang import AGAIN_SECONDS, BySlurm, Gang, Launcher, OnEachNode
from engine.dispatch.mirror import Mirror, OffsetMismatch
from engine.dispatch.nodes import Nodes
from engine.dispatch.observation import Exit, Phase, RankEnd, Why
from engine.dispatch.placement import Seat
from engine.dispatch.preparation import Preparation
from engine.dispatch.seated import Seated, lasts
from engine.dispatch.stalls import Stalled, StallWatch
from engine.errors import ExitCode, PlumblineError, Unreachable
from engine.plan.sizes import in_words
from engine.spec.models import AnySpec
from engine.store import attempts, events
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.telemetry.records import Level
from engine.telemetry.states import Desired, State

HEARD_SECONDS = 5.0  # between two notes in the database that a node was heard
TAKEN_SECONDS = 10.0  # before another try, when somebody else held a slot

Complain = Callable[[str], None]


class Run:
    """One attempt. Whatever it remembers can be asked of the nodes again; what must last is in the database."""

    def __init__(
        self,
        store: Store,
        *,
        experiment: Experiment,
        attempt: attempts.Attempt,
        spec: AnySpec,
        seats: Sequence[tuple[Seat, Node, NodeLink]],
        others: Sequence[tuple[Node, NodeLink]],
        nodes: Nodes,
        here: Here,
        holder: Mapping[str, str],
        complain: Complain,
        slurm: Slurm | None = None,
    ) -> None:
        self.experiment, self.number = experiment.id, attempt.number
        self.desired = Desired.RUN
        self.ended = False
        self.has_news, self.stepped_at = True, 0.0  # whether something was heard since the last step, and when that was
        self.has_facts = True  # whether some may have come that are not in
        self.spec, self.began_at = spec, attempt.created_at
        self._store, self._faults = store, experiment.faults
        self._here, self._complain, self._state = here, complain, attempt.state
        self._mirror = Mirror(store.runs_dir / self.experiment)
        self._mirror.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.is_here = self._mirror.is_original(attempt.run_dir)  # facts are written on this machine itself
        self.collection = Collection(store, self.experiment, self._mirror, complain)
        now = time.monotonic()
        self.seated = [Seated(seat, node, link, since=now) for seat, node, link in seats]
        own = {**holder, "experiment": experiment.id}
        self._gang = Gang(experiment.id, attempt.number, attempt.run_dir, spec, own, self.seated)
        self.slurm = slurm  # gives out the nodes
        self._launcher: Launcher = OnEachNode(self._gang) if slurm is None else BySlurm(self._gang, slurm)
        self._preparation = Preparation(
            store, spec, experiment.code, seated=self.seated, others=others, nodes=nodes, for_all=slurm is not None
        )
        self._explained: str | None = None  # what the database was told of why it waits
        self._stalls = StallWatch(spec.supervision.stall_factor)
        self._stalled: Stalled | None = None  # the one that was told
        self._blocked_until = 0.0  # this machine could not write

    @property
    def links(self) -> set[NodeLink]:
        """The links it uses."""
        return {seated.link for seated in self.seated} | self._preparation.links

    def link_up(self, link: NodeLink) -> None:
        """The link came up: all that was asked on an earlier connection must be asked again."""
        self.has_news = True
        for seated in self._of(link):
            seated.forget()
            if seated.lost:
                seated.lost = False
                self._tell(f"{seated.host} answers again.", "contact_regained")

    def link_down(self, link: NodeLink) -> None:
        """The link went down, or another try failed. What runs there may well go on."""
        self.has_news = True
        for seated in self._of(link):
            self._note(seated, seated.problem)
            self._stalls.forget(seated.seat.index)
            if self._state is State.RUNNING and not seated.lost:
                seated.lost = True
                self._tell(f"lost contact with {seated.host}: {seated.problem}", "contact_lost", Level.WARNING)

    def hear(self, index: int, header: Mapping[str, Any], data: bytes) -> None:
        """Take in what the companion on a node, by its index, sent for this run."""
        seated = self.seated[index]
        if "file" in header:
            self._copy(seated, header, data)
            self.has_facts = True
            return
        self.has_news = self.has_news or "pulse" not in header
        if "phase" in header:
            seated.phase = Phase(header["phase"])
            seated.exit = self._exit(header["exit"]) if seated.phase is Phase.EXITED else None
            seated.slurm = header.get("slurm")
        elif "pulse" in header:
            seated.pulse = header["pulse"]
            self._stalls.hear(index, header["pulse"].get("ranks") or {}, time.monotonic())
        elif "left_out" in header:
            self._tell_of_results(seated, int(header["left_out"]), int(header["bound"]))
        elif header.get("drained"):
            # Not if something was dropped since, and it is to be sent again.
            seated.all_sent = seated.followed and header.get("turn") == seated.turn
        elif header["reply"][1] == "stage":
            seated.staged = header
        elif header["reply"][1] == "sweep":
            seated.swept = not header.get("left") and "problem" not in header
        elif header["reply"][1] == "slurm":
            self._hear_slurm(header)
        elif "problem" in header:
            seated.phase = Phase.EXITED
            first = RankEnd(seated.seat.first_rank, None, None, header["problem"])
            seated.exit = Exit(Why.RANK_FAILED, time.time(), first)

    def step(self) -> None:
        """Take one step toward what should be."""
        now = time.monotonic()
        for seated in self.seated:
            self._keep_following(seated, now)
            self._sweep(seated, now)
            if seated.link.connected and now >= self._blocked_until:
                self._note(seated, None)
        stalled = self._look_for_stalls(now)
        if self._state is State.STARTING and all(self._has_started(seated) for seated in self.seated):
            self._move(State.RUNNING)
        if self._state is State.STARTING and (job := self.seated[0].slurm) and self.seated[0].phase is Phase.PENDING:
            self._explain(waiting(job, time.time()))
        views = [seated.view(everything_in=self._everything_in(seated)) for seated in self.seated]
        lost_after = self.spec.supervision.lost_after
        action = decide(self._state, self.desired, views, lost_after=lost_after, stalled=stalled)
        if isinstance(action, Stage):
            self._stage()
        elif isinstance(action, Start):
            self._start()
        elif isinstance(action, Signal):
            self._launcher.signal(action)
        elif isinstance(action, End):
            self._end(action)

    def release(self) -> None:
        """Ask the nodes to send no more."""
        self._preparation.cancel()
        for seated in self.seated:
            seated.link.request("unfollow", run=self._gang.key(seated))

    def _of(self, link: NodeLink) -> list[Seated]:
        return [seated for seated in self.seated if seated.link is link]

    def _everything_in(self, seated: Seated) -> bool:
        return seated.seat.index != 0 or self.collection.complete

    @staticmethod
    def _has_started(seated: Seated) -> bool:
        taken = seated.exit is not None and seated.exit.why is Why.SLOTS_TAKEN
        return seated.phase in (Phase.ALIVE, Phase.EXITED) and not taken

    def _exit(self, document: Any) -> Exit:
        try:
            return Exit.from_document(document)
        except ValueError as error:
            return Exit(Why.RANK_FAILED, time.time(), RankEnd(0, None, None, f"error: {error}"))

    def _keep_following(self, seated: Seated, now: float) -> None:
        if seated.followed or not seated.link.connected or self._state is State.STAGING or now < self._blocked_until:
            return
        seated.followed, seated.all_sent, seated.turn = True, False, seated.turn + 1
        sizes = {} if self.is_here else self._mirror.sizes(self.number, seated.seat.index)
        copy, turn = not self.is_here, seated.turn
        self._gang.ask(seated, "follow", run=self._gang.key(seated), sizes=sizes, copy=copy, turn=turn)

    def _sweep(self, seated: Seated, now: float) -> None:
        """End what a dead agent left behind."""
        waits = seated.phase is Phase.GONE and not seated.swept and seated.link.connected
        if waits and now - seated.swept_at > AGAIN_SECONDS:
            seated.swept_at = now
            self._gang.ask(seated, "sweep", id=[self._gang.key(seated), "sweep"])

    def _copy(self, seated: Seated, header: Mapping[str, Any], data: bytes) -> None:
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
            self._complain(f"{seated.host}: {error}")

    def _look_for_stalls(self, now: float) -> str | None:
        """Return why the run is to be ended for a stalled rank; name one that is new."""
        if self._state is not State.RUNNING or self.desired is not Desired.RUN:
            return None
        found = self._stalls.stalled(now)
        before, self._stalled = self._stalled, found
        if found is None:
            if before is not None:
                self._tell(f"rank {before.rank} gets on again.", "stall_over")
            return None
        host = self.seated[found.node].host
        sentence = found.sentence(host, self._last_line(found))
        if before is None or before.rank != found.rank:
            self._tell(sentence, "stalled", Level.WARNING)
        return sentence if self.spec.supervision.on_stall == "restart" else None

    def _last_line(self, stalled: Stalled) -> str:
        log = self._mirror.log_end(self.number, stalled.node, stalled.rank)
        return reasons.telling_line(log)

    def _stage(self) -> None:
        """Look the nodes over, and make them ready."""
        if self._prepared(look=True):
            self._move(State.STARTING)

    def _prepared(self, *, look: bool) -> bool:
        """Whether the nodes are ready; a run whose nodes cannot be made so ends here."""
        preparation = self._preparation
        try:
            return (
                (not look or preparation.looked_over(self._here))
                and preparation.laid(self._explain)
                and preparation.ready(self._ask_to_stage)
            )
        except PlumblineError as error:
            fault = isinstance(error, Unreachable) and not lasts(error)
            self._end(End(State.FAILED, ExitCode(error.exit_code), str(error), fault=fault))
            return False

    def _explain(self, reason: str) -> None:
        if reason == self._explained:
            return
        self._explained = reason
        with contextlib.suppress(PlumblineError):  # a full disk here must not end what goes on there
            attempts.explain(self._store, self.experiment, self.number, reason)

    def _ask_to_stage(self, seated: Seated, arguments: Mapping[str, object]) -> None:
        self._gang.ask(seated, "stage", id=[self._gang.key(seated), "stage"], **arguments)

    def _start(self) -> None:
        # Another dispatcher may have laid it ready: the nodes say again what they were told, and node 0 the port.
        if not self._prepared(look=False):
            return
        assert self._preparation.staged is not None
        self._launcher.start(self._preparation.staged)

    def _hear_slurm(self, header: Mapping[str, Any]) -> None:
        if "problem" not in header or self._state is not State.STARTING:
            return
        told = f"{self.seated[0].node.host} {header['problem']}."
        if header.get("refused"):
            self._end(End(State.FAILED, ExitCode.REFUSED, told))
        else:
            self._explain(told)

    def _move(self, state: State) -> None:
        attempts.transition(self._store, self.experiment, self.number, state)
        self._state = state

    def _end(self, end: End) -> None:
        self._preparation.cancel()
        self._tell_last_words()
        attempts.transition(
            self._store,
            self.experiment,
            self.number,
            end.state,
            reason=end.reason,
            exit_code=end.exit_code,
            again=self._again(end),
            remains=self._remains(),
        )
        self._state, self.ended = end.state, True

    def _again(self, end: End) -> attempts.Again | None:
        """Return how the experiment goes back into the queue; null if this was its end."""
        if self.desired is not Desired.RUN or not (end.fault or end.taken):
            return None
        if end.taken:
            return attempts.Again(end.reason or "", time.time() + TAKEN_SECONDS, self._faults)
        faults = 1 if self._got_on() else self._faults + 1
        if faults > self.spec.supervision.retries:
            return None
        at = time.time() + pause_seconds(faults)
        return attempts.Again(reasons.tries_again(at, faults, self.spec.supervision.retries, end.reason), at, faults)

    def _got_on(self) -> bool:
        """Whether this attempt has left a checkpoint beyond the one it began from."""
        last = events.last_checkpoint(self._store, self.experiment)
        began = attempts.list_attempts(self._store, self.experiment)[-1].resumed_step
        return last is not None and began is not None and last > began

    def _remains(self) -> dict[int, str]:
        """Return the nodes on which something of the run may live on."""
        if self._state is State.STAGING:
            return {}
        views = [(seated, seated.view(everything_in=True)) for seated in self.seated]
        return {each.seat.index: each.host for each, view in views if not view.ended and each.phase is not Phase.ABSENT}

    def _tell_last_words(self) -> None:
        """Keep what the ranks that failed first on each node said, with the end of their logs."""
        for seated in self.seated:
            first = None if seated.exit is None else seated.exit.first
            if first is None or (first.code is None and first.signal is None and not first.tail):
                continue
            facts = {"rank": first.rank, "host": seated.host, "slot": first.slot, "code": first.code}
            data = {**facts, "signal": first.signal, "log": first.tail}
            told = reasons.rank_failed(seated.host, first)
            self._tell(told, "rank_failed", Level.ERROR, step=first.step, data=data)

    def _tell_of_results(self, seated: Seated, size: int, bound: int) -> None:
        """Say that the results of an evaluation are too large to be kept beside the database."""
        self._tell(
            f"The answers, {in_words(size)}, stay on {seated.host}: no more than {in_words(bound)} come by themselves. "
            f"engine report {self.experiment} -o report.html brings them.",
            "results_left_out",
            Level.WARNING,
            data={"bytes": size},
        )

    def _note(self, seated: Seated, problem: str | None) -> None:
        """Tell the database when the node was last heard, how its ranks stand, and why it is silent."""
        now = time.monotonic()
        said, at = seated.noted
        if said == problem and (problem is not None or now - at < HEARD_SECONDS):
            return
        seated.noted = (problem, now)
        heard = time.time() - seated.silent_seconds if seated.link.heard_at is not None else None
        pulse, seated.pulse = seated.pulse, None
        attempts.hear(
            self._store,
            self.experiment,
            self.number,
            seated.seat.index,
            seated.host,
            heard_at=heard,
            message=problem,
            pulse=pulse,
        )

    def _tell(
        self,
        message: str,
        event: str,
        level: Level = Level.INFO,
        *,
        step: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        events.add(self._store, self.experiment, self.number, event, message, level=level, step=step, data=data)
