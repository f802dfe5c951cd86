"""What the dispatcher does next, for everything that it can see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cluster.slurm import Ending
from engine.dispatch.decide import (
    CONNECT_SECONDS,
    PATIENCE_SECONDS,
    Action,
    End,
    Nothing,
    Signal,
    Stage,
    Start,
    decide,
)
from engine.dispatch.observation import Exit, NodeView, Phase, RankEnd, Why
from engine.errors import ExitCode
from engine.telemetry.states import Desired, State

exits = st.builds(
    Exit,
    why=st.sampled_from(Why),
    time=st.floats(0, 100),
    first=st.none()
    | st.builds(RankEnd, rank=st.integers(0, 7), code=st.integers(1, 255), signal=st.none())
    | st.builds(RankEnd, rank=st.integers(0, 7), code=st.none(), signal=st.sampled_from([9, 10, 11, 15])),
)


@st.composite
def views(draw: st.DrawFn) -> NodeView:
    phase = draw(st.sampled_from(Phase))
    connected = draw(st.booleans())
    return NodeView(
        host=draw(st.sampled_from(["n1", "n2"])),
        phase=phase,
        exit=draw(exits) if phase is Phase.EXITED else None,
        drained=draw(st.booleans()) if phase in (Phase.EXITED, Phase.GONE) else False,
        connected=connected,
        silent_seconds=0.0 if connected else draw(st.sampled_from([0.0, CONNECT_SECONDS, PATIENCE_SECONDS + 1])),
        problem=None if connected else "no route to host",
    )


LIVE = st.sampled_from([State.STAGING, State.STARTING, State.RUNNING])
nodes_seen = st.lists(views(), min_size=1, max_size=4)


@given(LIVE, st.sampled_from(Desired), nodes_seen)
def test_nothing_that_may_still_run_is_forgotten(state: State, desired: Desired, nodes: list[NodeView]) -> None:
    action = decide(state, desired, nodes)
    if isinstance(action, End) and state is not State.STAGING:
        assert not any(node.connected and node.phase in (Phase.ALIVE, Phase.PENDING, Phase.UNKNOWN) for node in nodes)
        assert not any(node.connected and node.ended and not node.drained for node in nodes)


@given(LIVE, st.sampled_from(Desired), nodes_seen)
def test_a_run_succeeds_exactly_when_every_node_says_so(state: State, desired: Desired, nodes: list[NodeView]) -> None:
    action = decide(state, desired, nodes)
    everybody = all(node.exit is not None and node.exit.why is Why.OK for node in nodes)
    if isinstance(action, End):
        if action.state is State.SUCCEEDED:
            assert everybody and action.exit_code is ExitCode.DONE
        else:
            assert action.exit_code is not ExitCode.DONE
            assert action.reason and action.reason.strip()


@given(LIVE, st.sampled_from(Desired), nodes_seen)
def test_signals_go_to_living_agents_only_and_stop_now_never_asks_for_a_checkpoint(
    state: State, desired: Desired, nodes: list[NodeView]
) -> None:
    action = decide(state, desired, nodes)
    if isinstance(action, Signal):
        assert action.nodes
        signalled = [nodes[index] for index in action.nodes]
        assert all(node.connected and node.phase in (Phase.ALIVE, Phase.PENDING) for node in signalled)
        assert desired is not Desired.STOP_NOW or action.name == "TERM"


@given(st.sampled_from([State.STARTING, State.RUNNING]), nodes_seen)
def test_it_starts_nothing_once_a_stop_is_wanted(state: State, nodes: list[NodeView]) -> None:
    for desired in (Desired.STOP, Desired.STOP_NOW):
        assert not isinstance(decide(state, desired, nodes), Start | Stage)


def node(phase: Phase = Phase.ALIVE, why: Why | None = None, first: RankEnd | None = None, **more: object) -> NodeView:
    found = NodeView("n1", phase)
    if why is not None:
        found = replace(found, phase=Phase.EXITED, exit=Exit(why, 1.0, first), drained=True)
    return replace(found, **more)  # type: ignore[arg-type]


AWAY = {"connected": False, "problem": "no route to host."}
KILLED = RankEnd(1, None, 9, "step 3\n")


@pytest.mark.parametrize(
    ("state", "desired", "nodes", "expected"),
    [
        (State.STAGING, Desired.RUN, [node(Phase.UNKNOWN), node(Phase.UNKNOWN, **AWAY)], Nothing()),
        (State.STAGING, Desired.RUN, [node(Phase.UNKNOWN), node(Phase.UNKNOWN)], Stage()),
        (State.STARTING, Desired.RUN, [node(Phase.ABSENT), node()], Start()),
        (State.STARTING, Desired.RUN, [node(Phase.ABSENT), node(**AWAY)], Nothing()),
        (State.RUNNING, Desired.RUN, [node(), node()], Nothing()),
        (State.RUNNING, Desired.RUN, [node(silent_seconds=1e6, **AWAY), node()], Nothing()),
        (State.RUNNING, Desired.STOP, [node(), node(why=Why.OK)], Signal((0,), "USR1")),
        (State.RUNNING, Desired.STOP_NOW, [node(), node()], Signal((0, 1), "TERM")),
        (State.RUNNING, Desired.RUN, [node(why=Why.RANK_FAILED, first=KILLED), node()], Signal((1,), "TERM")),
        (State.RUNNING, Desired.RUN, [node(why=Why.OK), node(why=Why.OK, drained=False)], Nothing()),
        (State.RUNNING, Desired.RUN, [node(why=Why.OK)] * 2, End(State.SUCCEEDED, ExitCode.DONE)),
    ],
)
def test_the_steps_of_a_life(state: State, desired: Desired, nodes: list[NodeView], expected: Action) -> None:
    assert decide(state, desired, nodes) == expected


@pytest.mark.parametrize(
    ("state", "desired", "nodes", "outcome", "code", "said"),
    [
        (
            State.STAGING,
            Desired.RUN,
            [node(Phase.UNKNOWN, silent_seconds=CONNECT_SECONDS, **AWAY)],
            State.FAILED,
            ExitCode.UNREACHABLE,
            "n1 cannot be reached: no route to host.",
        ),
        (State.STAGING, Desired.STOP, [node()], State.STOPPED, ExitCode.INTERRUPTED, "before it started"),
        (State.STARTING, Desired.STOP, [node(Phase.ABSENT)], State.STOPPED, ExitCode.INTERRUPTED, "before it started"),
        (
            State.RUNNING,
            Desired.RUN,
            [node(why=Why.STOPPED), node(why=Why.RANK_FAILED, first=KILLED)],
            State.FAILED,
            ExitCode.RUN_FAILED,
            "rank 1 (n1) was killed by SIGKILL: step 3",
        ),
        (State.RUNNING, Desired.STOP, [node(why=Why.INTERRUPTED)], State.STOPPED, ExitCode.INTERRUPTED, "checkpoint"),
        (State.RUNNING, Desired.STOP_NOW, [node(why=Why.STOPPED)], State.STOPPED, ExitCode.INTERRUPTED, "at once"),
        (
            State.RUNNING,
            Desired.RUN,
            [node(Phase.GONE, drained=True, swept=True), node(why=Why.RANK_FAILED)],
            State.LOST,
            ExitCode.RUN_FAILED,
            "is gone without a record",
        ),
        (
            State.RUNNING,
            Desired.STOP_NOW,
            [node(why=Why.STOPPED), node(silent_seconds=PATIENCE_SECONDS, **AWAY)],
            State.STOPPED,
            ExitCode.INTERRUPTED,
            "could not be told: no route to host.",
        ),
        (State.RUNNING, Desired.STOP, [node(why=Why.OK)], State.SUCCEEDED, ExitCode.DONE, ""),
    ],
)
def test_the_ends_of_a_life(
    *, state: State, desired: Desired, nodes: list[NodeView], outcome: State, code: ExitCode, said: str
) -> None:
    action = decide(state, desired, nodes)
    assert isinstance(action, End), action
    assert (action.state, action.exit_code) == (outcome, code)
    assert said in (action.reason or "")


def test_what_a_dead_agent_left_behind_is_ended_before_the_run_is_over() -> None:
    gone = node(Phase.GONE, drained=True)
    assert decide(State.RUNNING, Desired.RUN, [gone, node()]) == Signal((1,), "TERM")
    assert decide(State.RUNNING, Desired.RUN, [gone, node(why=Why.STOPPED)]) == Nothing()
    end = decide(State.RUNNING, Desired.RUN, [replace(gone, swept=True), node(why=Why.STOPPED)])
    assert isinstance(end, End) and end.fault


PEERLESS = RankEnd(0, 1, None, "error: RuntimeError: [tcp/pair.cc:571] Connection closed by peer [10.0.0.2]:4100")
OWN_FAULT = RankEnd(1, 1, None, "error: ValueError: the data are wrong")


def failed(first: RankEnd, at: float, host: str = "n1") -> NodeView:
    return NodeView(host, Phase.EXITED, Exit(Why.RANK_FAILED, at, first), drained=True)


def test_a_rank_that_lost_its_peer_is_not_the_one_that_is_blamed_whatever_the_clocks_say() -> None:
    end = decide(State.RUNNING, Desired.RUN, [failed(PEERLESS, 1.0), failed(OWN_FAULT, 3600.0, "n2")])
    assert isinstance(end, End) and not end.fault
    assert end.reason == "rank 1 (n2) exited with code 1: error: ValueError: the data are wrong"


@pytest.mark.parametrize(
    ("first", "fault"),
    [(OWN_FAULT, False), (PEERLESS, True), (KILLED, True), (RankEnd(1, None, 11, ""), False)],
)
def test_faults_of_the_cluster_are_told_from_those_of_the_run(first: RankEnd, fault: bool) -> None:
    end = decide(State.RUNNING, Desired.RUN, [failed(first, 1.0)])
    assert isinstance(end, End) and end.fault is fault


def test_a_silent_node_is_waited_for_as_long_as_the_spec_says_and_its_peers_end_with_it() -> None:
    nodes = [node(), node(silent_seconds=601.0, **AWAY)]
    assert decide(State.RUNNING, Desired.RUN, nodes, lost_after=None) == Nothing()
    assert decide(State.RUNNING, Desired.RUN, nodes, lost_after=602.0) == Nothing()
    assert decide(State.RUNNING, Desired.RUN, nodes, lost_after=600.0) == Signal((0,), "TERM")
    end = decide(State.RUNNING, Desired.RUN, [node(why=Why.STOPPED), nodes[1]], lost_after=600.0)
    assert isinstance(end, End) and (end.state, end.fault) == (State.LOST, True)


def test_slots_that_somebody_else_holds_put_it_back_after_the_others_have_ended() -> None:
    holder = {"user": "anna", "host": "desk", "experiment": "ppo-0012"}
    taken = NodeView("n2", Phase.EXITED, Exit(Why.SLOTS_TAKEN, 1.0, None, {3: holder}), drained=True)
    assert decide(State.STARTING, Desired.RUN, [node(), taken]) == Signal((0,), "TERM")
    end = decide(State.STARTING, Desired.RUN, [node(Phase.ABSENT), taken])
    assert isinstance(end, End) and end.taken
    assert end.reason == "slot 3 of n2 is held by anna@desk: ppo-0012"


@pytest.mark.parametrize(
    ("why", "ending", "state", "fault"),
    [
        (Why.STOPPED, Ending("time is up.", fault=True), State.LOST, True),
        (Why.INTERRUPTED, Ending("time is nearly up.", fault=True), State.LOST, True),
        (None, Ending("a node failed.", fault=True), State.LOST, True),
        (None, Ending("it left no record.", fault=False), State.FAILED, False),
        (None, Ending("it was cancelled.", fault=False, wanted=True), State.STOPPED, False),
        (Why.RANK_FAILED, Ending("out of memory.", fault=False), State.FAILED, False),
    ],
)
def test_how_slurm_ended_a_job_is_how_its_run_ended(why: Why | None, ending: Ending, state: State, fault: bool) -> None:
    phase = Phase.GONE if why is None else Phase.EXITED
    exit_ = None if why is None else Exit(why, 1.0)
    node = NodeView("a", phase, exit_, drained=True, swept=True, ending=ending)
    action = decide(State.RUNNING, Desired.RUN, [node])
    assert isinstance(action, End) and (action.state, action.fault, action.reason) == (state, fault, ending.told)
