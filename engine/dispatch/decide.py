"""The one step that brings a run nearer to what should be. Pure: from what is known to what to do.

Every decision rests on the database and on the nodes alone, never on what was decided before. So a dispatcher may be
killed between any two lines: the next one sees the same facts and takes the same step again, and every step does no
harm when it is taken twice.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from engine.dispatch import reasons
from engine.dispatch.faults import lost_its_peers, of_the_cluster
from engine.dispatch.observation import Exit, NodeView, Phase, Why
from engine.errors import ExitCode
from engine.telemetry.states import Desired, State

CONNECT_SECONDS = 6.0  # after this long without an answer, the next failed try before the start is the last
PATIENCE_SECONDS = 30.0  # longest wait for a silent node once the run has to end


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or something is under way."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Check the nodes and lay everything ready on them."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the agents; those that run already stay as they are."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Pass a signal to the agents of these nodes, by index: USR1 stops at a checkpoint, TERM at once."""

    nodes: tuple[int, ...]
    name: str


@dataclass(frozen=True, slots=True)
class End:
    """Record the outcome. fault: of nodes or links, and not of the run; another attempt may go well."""

    state: State
    exit_code: ExitCode
    reason: str | None = None
    fault: bool = False
    taken: bool = False  # nothing was wrong but that somebody else held a slot


Action = Nothing | Stage | Start | Signal | End

_STOP_SIGNALS = frozenset({signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL})


def decide(
    state: State,
    desired: Desired,
    nodes: Sequence[NodeView],
    *,
    lost_after: float | None = None,
    stalled: str | None = None,
) -> Action:
    """Return the next step of an attempt that has not ended.

    Args:
        state: of the attempt.
        desired: what a person wants.
        nodes: as they are known.
        lost_after: seconds that a node may be silent while it runs; None: for ever.
        stalled: why the run is to be ended for a rank that has stalled.
    """
    if state is State.STAGING:
        return _before_start(desired, nodes)
    cause = _cause(state, nodes, lost_after, stalled)
    if state is State.STARTING and desired is Desired.RUN and cause is None:
        return Start() if all(node.connected for node in nodes) else Nothing()
    must_end = cause is not None or desired is Desired.STOP_NOW
    if not all(_settled(node, must_end) for node in nodes):
        lives = (Phase.ALIVE, Phase.PENDING)
        alive = tuple(index for index, node in enumerate(nodes) if node.phase in lives and node.connected)
        name = "TERM" if must_end else "USR1"
        return Signal(alive, name) if alive and (must_end or desired is Desired.STOP) else Nothing()
    patience = PATIENCE_SECONDS if desired is Desired.STOP_NOW or lost_after is None else lost_after
    if any(node.ended and not node.drained and not _given_up(node, patience) for node in nodes):
        return Nothing()  # what it wrote is still to come
    return _outcome(desired, nodes, cause)


def _before_start(desired: Desired, nodes: Sequence[NodeView]) -> Action:
    """Nothing runs yet, so nothing needs to be undone."""
    if desired is not Desired.RUN:
        return End(State.STOPPED, ExitCode.INTERRUPTED, "stopped before it started.")
    away = [node for node in nodes if not node.connected]
    late = [node for node in away if node.problem is not None and node.silent_seconds >= CONNECT_SECONDS]
    if late:
        return _unreachable(late[0])
    return Nothing() if away else Stage()


def _cause(state: State, nodes: Sequence[NodeView], lost_after: float | None, stalled: str | None) -> End | None:
    """Return how the run ends because of one of its nodes, if it does: a gang lives and dies together."""
    for node in nodes:
        found = _ended_by_slurm(node)
        if found is not None:
            return found
    # The peers of a dead agent fail as well, over broken connections; the dead agent comes first.
    for node in nodes:
        killed = node.exit is not None and node.exit.why is Why.AGENT_KILLED
        if killed or node.phase is Phase.GONE or (node.phase is Phase.ABSENT and state is State.RUNNING):
            return End(State.LOST, ExitCode.RUN_FAILED, reasons.agent_gone(node.host, killed=killed), fault=True)
    failed = _first_failure(nodes)
    if failed is not None:
        return failed
    if state is State.RUNNING and lost_after is not None:
        silent = [node for node in nodes if not node.ended and not node.connected and node.silent_seconds >= lost_after]
        if silent:
            told = reasons.node_lost(silent[0].host, silent[0].silent_seconds, silent[0].problem)
            return End(State.LOST, ExitCode.RUN_FAILED, told, fault=True)
    if stalled is not None:
        return End(State.FAILED, ExitCode.RUN_FAILED, stalled, fault=True)
    for node in nodes:
        if node.exit is not None and node.exit.why is Why.SLOTS_TAKEN:
            told = reasons.slots_taken(node.host, node.exit.taken)
            return End(State.STOPPED, ExitCode.INTERRUPTED, told, taken=True)
        if state is State.STARTING and _given_up(node):
            return _unreachable(node)
        if node.exit is not None and node.exit.why is Why.STOPPED:
            # Not by us: a node that shuts down ends its processes so.
            return End(State.STOPPED, ExitCode.INTERRUPTED, f"stopped at once on {node.host}.", fault=True)
    return None


def _ended_by_slurm(node: NodeView) -> End | None:
    """Return how the run ends because Slurm ended its job, if it did."""
    if node.ending is None or node.phase not in (Phase.EXITED, Phase.GONE):
        return None
    told, why = node.ending.told, None if node.exit is None else node.exit.why
    if why is Why.OK:
        return None
    if why is Why.RANK_FAILED:
        if node.exit is not None and node.exit.first is not None:
            told = f"{reasons.rank_failed(node.host, node.exit.first)} {told}"
        return End(State.FAILED, ExitCode.RUN_FAILED, told)
    if node.ending.wanted:
        return End(State.STOPPED, ExitCode.INTERRUPTED, told)
    state = State.LOST if node.ending.fault else State.FAILED
    return End(state, ExitCode.RUN_FAILED, told, fault=node.ending.fault)


def _first_failure(nodes: Sequence[NodeView]) -> End | None:
    """Return the failure that the others follow from.

    Ranks that lost a peer failed because of that one, so they come last; among equals the earliest does.
    """
    failed: list[tuple[bool, float, Exit, NodeView]] = [
        (node.exit.first is not None and lost_its_peers(node.exit.first), node.exit.time, node.exit, node)
        for node in nodes
        if node.exit is not None and node.exit.why is Why.RANK_FAILED
    ]
    if not failed:
        return None
    peerless, _, exit_, node = min(failed, key=lambda found: found[:2])
    if exit_.first is None:
        return End(State.FAILED, ExitCode.RUN_FAILED, f"a rank on {node.host} failed.")
    told = reasons.rank_failed(node.host, exit_.first)
    silent = [other.host for other in nodes if not other.connected and not other.ended]
    if peerless and silent:
        told = f"{told.rstrip('.')}; {', '.join(silent)} cannot be reached."
    return End(State.FAILED, ExitCode.RUN_FAILED, told, fault=of_the_cluster(exit_.first))


def _settled(node: NodeView, must_end: bool) -> bool:
    """Whether nothing more is to be expected of the node."""
    return node.ended or node.phase is Phase.ABSENT or (must_end and _given_up(node))


def _given_up(node: NodeView, patience: float = PATIENCE_SECONDS) -> bool:
    return not node.connected and node.silent_seconds >= patience


def _outcome(desired: Desired, nodes: Sequence[NodeView], cause: End | None) -> End:
    whys = {node.exit.why for node in nodes if node.exit is not None}
    if cause is not None and not _wanted(desired, nodes, cause):
        return cause
    if whys == {Why.OK} and all(node.exit is not None for node in nodes):
        return End(State.SUCCEEDED, ExitCode.DONE)
    silent = next((node for node in nodes if not node.ended and _given_up(node)), None)
    if silent is not None:
        told = f"stopped; {silent.host} could not be told: {silent.problem}"
    elif all(node.phase is Phase.ABSENT for node in nodes):
        told = "stopped before it started."
    elif Why.INTERRUPTED in whys and whys <= {Why.OK, Why.INTERRUPTED}:
        asked = desired is not Desired.RUN
        told = "stopped at a checkpoint." if asked else "stopped by itself at a checkpoint; its events say why."
    else:
        told = "stopped at once."
    return End(State.STOPPED, ExitCode.INTERRUPTED, told)


def _wanted(desired: Desired, nodes: Sequence[NodeView], cause: End) -> bool:
    """Whether what looks like a failure is the stop that a person asked for."""
    if desired is Desired.STOP:
        # A rank that has not yet set up its handlers dies of the signal that asks it to stop.
        ends = [node.exit.first for node in nodes if node.exit is not None and node.exit.first is not None]
        started = cause.exit_code is not ExitCode.UNREACHABLE and not cause.taken
        return not started or any(end.signal in _STOP_SIGNALS for end in ends)
    return desired is Desired.STOP_NOW


def _unreachable(node: NodeView) -> End:
    told = f"{node.host} cannot be reached: {node.problem}"
    return End(State.FAILED, ExitCode.UNREACHABLE, told, fault=not node.lasting)
