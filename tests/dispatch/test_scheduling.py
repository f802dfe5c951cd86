"""Who begins, and where: no slot twice, nobody starves, and the cluster does not stand idle."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from engine.dispatch.placement import Candidate, Want
from engine.dispatch.scheduling import Begin, GiveUp, NodeStanding, Wait
from engine.dispatch.turns import LEVEL_SECONDS, turn_of
from engine.errors import ExitCode
from engine.telemetry.states import Desired, State
from tests.dispatch.scene import NODES, NOON, decide, places, queued, reason, running, want, whole
from tests.dispatch.simulation import HOUR, Job, Known, longest_wait, nodes, overtaken, simulate, workload

KEYS = [candidate.key for candidate in NODES]
HALVES = (("left", range(4)), ("right", range(4, 8)))


@pytest.fixture(autouse=True)
def _in_one_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times in sentences are local."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# ---- what must hold, whatever the cluster looks like

wants = st.builds(
    lambda chosen, fewest, more, slots, share, avoid: Want(
        tuple(candidate for candidate in NODES if candidate.key in chosen),
        min(fewest, len(chosen)),
        min(min(fewest, len(chosen)) + more, len(chosen)),
        slots,
        share,
        frozenset(avoid),
    ),
    st.sets(st.sampled_from(KEYS), min_size=1),
    st.integers(1, 4),
    st.integers(0, 2),
    st.sampled_from([None, 1, 2, 3, 5, 8]),
    st.booleans(),
    st.sets(st.sampled_from(KEYS), max_size=2),
)
holders = st.lists(
    st.tuples(
        st.dictionaries(
            st.sampled_from(KEYS), st.sets(st.integers(0, 7), min_size=1).map(sorted).map(tuple), min_size=1
        ),
        st.none() | st.floats(-HOUR, 5 * HOUR),
        st.booleans(),
        st.integers(0, 8) | st.none(),
    ),
    max_size=6,
)
standings = st.dictionaries(
    st.sampled_from(KEYS),
    st.builds(
        NodeStanding,
        st.dictionaries(st.integers(0, 7), st.just("anna@desk: ppo-0012"), max_size=3),
        st.sampled_from([False, False, True]),
        st.sampled_from([None, None, "no route"]),
    ),
)
queues = st.lists(
    st.tuples(wants, st.integers(-1, 2), st.floats(0, 100 * HOUR), st.none() | st.floats(60, 9 * HOUR)), max_size=9
)


@settings(max_examples=300)
@given(queues, holders, standings)
def test_no_slot_is_given_twice_unless_both_share_and_seats_are_as_asked(
    asked: list[tuple[Want, int, float, float | None]],
    held: list[tuple[dict[str, tuple[int, ...]], float | None, bool, int | None]],
    standing: dict[str, NodeStanding],
) -> None:
    queue = [
        queued(f"sft-{number:04}", asks, age, priority, seconds=seconds)
        for number, (asks, priority, age, seconds) in enumerate(asked)
    ]
    runs = [
        running(f"rm-{number:04}", slots, ends, share=share, turn=None if since is None else turn_of("rm", 0, since))
        for number, (slots, ends, share, since) in enumerate(held)
    ]
    taken = [(key, slot, run.share) for run in runs for key, slots in run.slots.items() for slot in slots]
    found = decide(queue, runs, standing)
    assert found == decide(queue[::-1], runs, standing), "the order of the queue in memory does not matter"
    by_id = {each.id: each for each in queue}
    assert list(found) == sorted(by_id, key=lambda identity: by_id[identity].turn)
    for identity, verdict in found.items():
        if isinstance(verdict, Wait):
            assert verdict.reason and "None" not in verdict.reason
            continue
        assert isinstance(verdict, Begin)
        asks = by_id[identity].want
        hosts = [seat.host for seat in verdict.seats]
        assert hosts == [candidate.host for candidate in asks.candidates if candidate.host in hosts]
        assert asks.fewest <= len(hosts) <= asks.most
        ranks = [rank for seat in verdict.seats for rank in seat.ranks]
        assert ranks == list(range(len(ranks)))
        for index, seat in enumerate(verdict.seats):
            assert seat.index == index
            assert seat.slots == (asks.slots or 8) == len(set(seat.slot_numbers))
            assert seat.slot_numbers == tuple(sorted(seat.slot_numbers)) and set(seat.slot_numbers) <= set(range(8))
            known = standing.get(seat.host, NodeStanding())
            assert not known.drained and known.unreachable is None and not set(known.foreign) & set(seat.slot_numbers)
            for key, slot, share in taken:
                assert key != seat.host or slot not in seat.slot_numbers or (share and asks.share)
            taken += [(seat.host, slot, asks.share) for slot in seat.slot_numbers]


@settings(max_examples=200)
@given(wants, st.integers(-5, 5), st.none() | st.floats(60, 90 * HOUR))
def test_alone_on_an_idle_cluster_every_run_begins_with_as_much_as_it_may(
    asks: Want, priority: int, seconds: float | None
) -> None:
    found = places(decide([queued("sft-0001", asks, 0, priority, seconds=seconds)])["sft-0001"])
    kept_away = [candidate for candidate in asks.candidates if candidate.key not in asks.avoid]
    assert len(found) == (min(asks.most, len(kept_away)) if len(kept_away) >= asks.fewest else asks.most)


@settings(max_examples=200)
@given(
    st.lists(st.floats(0, 900 * HOUR), min_size=2, max_size=8, unique=True),
    wants,
    st.none() | st.floats(60, HOUR),
    holders,
)
def test_of_equals_the_older_begins_first(
    ages: list[float],
    asks: Want,
    seconds: float | None,
    held: list[tuple[dict[str, tuple[int, ...]], float | None, bool, int | None]],
) -> None:
    runs = [running(f"rm-{number:04}", slots, ends) for number, (slots, ends, _, _) in enumerate(held)]
    queue = [queued(f"sft-{number:04}", asks, age, seconds=seconds) for number, age in enumerate(ages)]
    begun = [isinstance(verdict, Begin) for verdict in decide(queue, runs).values()]
    assert begun == sorted(begun, reverse=True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.integers(0, 10_000), st.integers(2, 9))
def test_with_true_estimates_younger_runs_do_not_delay_the_first_that_waits(seed: int, older: int) -> None:
    def first_of(count: int) -> Job:
        jobs = workload(seed, Known.EXACT, count=count, cluster=nodes(4))
        for job in jobs[:older]:
            job.created_at = 0.0
        for number, job in enumerate(jobs[older:]):
            job.created_at = 1.0 + number
        jobs[older].want = replace(jobs[older].want, fewest=2 + seed % 3, most=2 + seed % 3, slots=None)
        simulate(jobs)
        assume(all(job.began_at == 0.0 for job in jobs[:older]))
        return jobs[older]

    assert first_of(older + 25).began_at <= first_of(older + 1).began_at


# ---- nobody starves


@pytest.mark.parametrize("known", [Known.NEVER, Known.PACE, Known.EXACT])
def test_a_run_of_the_whole_cluster_begins_under_a_stream_of_small_ones(known: Known) -> None:
    cluster, chance = nodes(2), random.Random(7)
    stream = []
    for number in range(150):  # a third more than 16 slots can do
        asks, seconds = Want(cluster, 1, 1, chance.choice([1, 2, 4])), chance.uniform(0.5, 4) * HOUR
        said, told = seconds if known is Known.EXACT else None, None if known is Known.NEVER else seconds
        stream.append(Job(f"sft-{number:04}", asks, seconds, number * 900.0, 0, said, told))
    big = Job("ppo-0001", Want(cluster, 2, 2), HOUR, 6 * HOUR + 1, 0, HOUR if known is Known.EXACT else None, HOUR)
    simulate([*stream, big])
    older = max(job.ends_at for job in stream if job.created_at < big.created_at)
    assert big.began_at <= older + 4 * HOUR, "what came before it, and once more the longest that overtook it"


def test_runs_that_last_longer_than_they_said_do_not_let_in_ever_more() -> None:
    cluster = nodes(1)
    # Each says a minute, and takes three hours, as its pace soon tells.
    liars = [
        Job(f"sft-{number:04}", Want(cluster, 1, 1, 1), 3 * HOUR, number * 300.0, 0, 60.0, 3 * HOUR)
        for number in range(100)
    ]
    big = Job("ppo-0001", Want(cluster, 1, 1), HOUR, 301.0, 0, HOUR, HOUR)
    simulate([*liars, big])
    assert big.began_at <= 301.0 + 3 * HOUR + 3 * HOUR


def test_low_priority_has_its_turn_under_a_stream_of_high_priority() -> None:
    cluster = nodes(1)
    urgent = [Job(f"ppo-{number:04}", Want(cluster, 1, 1), HOUR, number * 0.9 * HOUR, 2) for number in range(80)]
    humble = Job("sft-0001", Want(cluster, 1, 1), HOUR, HOUR, 0)
    simulate([*urgent, humble])
    before = [job for job in urgent if job.began_at < humble.began_at]
    assert max(job.created_at for job in before) <= humble.created_at + 2 * LEVEL_SECONDS
    # All that were queued in those two days come first, and no more than them.
    assert humble.began_at <= humble.created_at + 2 * LEVEL_SECONDS / 0.9 + 2 * HOUR
    assert longest_wait(urgent) < longest_wait([humble])


# ---- the bar


@pytest.mark.parametrize(
    ("known", "mean", "least"),
    [
        (Known.EXACT, 0.96, 0.95),
        (Known.ROUGH, 0.95, 0.93),
        (Known.WRONG, 0.94, 0.92),
        (Known.PACE, 0.93, 0.91),
        (Known.NEVER, 0.90, 0.87),
    ],
    ids=[known.name for known in Known],
)
def test_200_runs_keep_64_slots_busy_in_fair_order(known: Known, mean: float, least: float) -> None:
    shares = []
    for seed in range(3):
        jobs = workload(seed, known)
        shares.append(simulate(jobs).busy)
        assert overtaken(jobs) <= 130
        if known in (Known.PACE, Known.NEVER):
            # Nothing tells runs apart that ask for the same: they begin as they came.
            for asks in {job.want for job in jobs}:
                begun = [job.began_at for job in jobs if job.want == asks]
                assert begun == sorted(begun)
    assert sum(shares) / len(shares) >= mean
    assert min(shares) >= least


# ---- where


def test_small_runs_fill_up_used_nodes_with_slots_side_by_side() -> None:
    held = [running("a", {"node-3": (0, 3)}), running("b", {"node-2": (0, 1, 2, 3, 4, 5)})]
    found = decide([queued("two", want(1, 2), 3), queued("three", want(1, 3), 2), queued("all", want(2), 1)], held)
    assert places(found["two"]) == {"node-2": (6, 7)}
    assert places(found["three"]) == {"node-3": (4, 5, 6)}
    assert places(found["all"]) == {"node-1": tuple(range(8)), "node-4": tuple(range(8))}


def test_the_smallest_gap_that_has_them_is_taken() -> None:
    held = [running("a", {"node-1": (4,)}), running("b", whole(2, 3, 4))]
    assert places(decide([queued("x", want(1, 3))], held)["x"]) == {"node-1": (5, 6, 7)}
    assert places(decide([queued("x", want(1, 4))], held)["x"]) == {"node-1": (0, 1, 2, 3)}


def test_slots_apart_are_taken_where_there_are_none_side_by_side() -> None:
    held = [running("a", {"node-1": (1, 3, 4, 6)}), running("b", whole(2, 3, 4))]
    assert places(decide([queued("x", want(1, 3))], held)["x"]) == {"node-1": (0, 2, 5)}
    assert places(decide([queued("x", want(1, 1))], held)["x"]) == {"node-1": (0,)}


def test_ranks_go_in_hostfile_order_whatever_is_fullest() -> None:
    held = [running("a", {"node-4": (0,), "node-2": (0, 1)})]
    found = decide([queued("x", want(2, 4))], held)["x"]
    assert isinstance(found, Begin)
    assert [(seat.host, seat.slot_numbers, list(seat.ranks)) for seat in found.seats] == [
        ("node-2", (2, 3, 4, 5), [0, 1, 2, 3]),
        ("node-4", (1, 2, 3, 4), [4, 5, 6, 7]),
    ]


def test_as_many_nodes_as_are_free() -> None:
    held = [running("a", whole(1))]
    assert list(places(decide([queued("x", want(2, None, 4))], held)["x"])) == ["node-2", "node-3", "node-4"]
    found = decide([queued("x", want(2, None, 4))], [running("a", whole(1, 2, 3), 600)])["x"]
    assert reason(found) == "needs 2 to 4 nodes, 1 free; next end ≈ 12:10, a"


def test_sharing_needs_two_that_share_and_takes_what_is_least_shared() -> None:
    here = (Candidate("here", "here", 2),)
    shares, alone = Want(here, 1, 1, 1, True), Want(here, 1, 1, 1)
    held = [running("a", {"here": (0,)}, share=True), running("b", {"here": (0,)}, share=True)]
    assert places(decide([queued("x", shares)], held)["x"]) == {"here": (1,)}
    held.append(running("c", {"here": (1,)}, share=True))
    assert places(decide([queued("x", shares)], held)["x"]) == {"here": (1,)}
    assert reason(decide([queued("x", alone)], held)["x"]) == "needs 1 slot, none free; held by a, b, c"
    held = [running("a", {"here": (0, 1)})]
    assert reason(decide([queued("x", shares)], held)["x"]) == "needs 1 slot, none free; held by a"


def test_nodes_that_failed_it_are_taken_only_where_the_others_are_too_few() -> None:
    asks = want(2, avoid=frozenset({"node-1"}))
    assert list(places(decide([queued("x", asks)])["x"])) == ["node-2", "node-3"]
    busy = [running("a", whole(3, 4), 600)]
    assert reason(decide([queued("x", asks)], busy)["x"]) == "needs 2 nodes, 1 free; next end ≈ 12:10, a"
    drained = {"node-3": NodeStanding(drained=True), "node-4": NodeStanding(drained=True)}
    assert list(places(decide([queued("x", asks)], [], drained)["x"])) == ["node-1", "node-2"]


# ---- who goes first


def test_priority_goes_before_age_and_a_level_is_worth_half_a_day() -> None:
    four, busy = want(4), [running("a", whole(1))]
    found = decide([queued("old", four, 11 * HOUR), queued("urgent", four, 0, 1)], busy)
    assert list(found) == ["urgent", "old"]
    assert list(decide([queued("older", four, 13 * HOUR), queued("urgent", four, 0, 1)], busy)) == ["older", "urgent"]


def test_a_younger_run_takes_kept_slots_only_if_it_ends_in_time() -> None:
    held = [running("a", whole(1, 2), HOUR), running("b", whole(3), 5 * HOUR)]
    first = queued("first", want(3), 9)
    found = decide([first, queued("long", want(1), 8, seconds=2 * HOUR)], held)
    assert reason(found["long"]) == "behind first, which came first and needs 3 nodes"
    assert places(decide([first, queued("short", want(1), 8, seconds=0.9 * HOUR)], held)["short"])
    assert isinstance(decide([first, queued("unknown", want(1), 8)], held)["unknown"], Begin)  # taken for an hour
    assert isinstance(decide([first, queued("urgent", want(1), 0, 1, seconds=9 * HOUR)], held)["urgent"], Begin)


def test_slots_that_the_first_does_not_need_are_open_to_all() -> None:
    held = [running("a", whole(1, 2), HOUR), running("b", {"node-3": (0,)}, 5 * HOUR)]
    found = decide([queued("first", want(3), 9), queued("next", want(1, 4), 8)], held)
    assert reason(found["first"]) == "needs 3 nodes, 1 free; next end ≈ 13:00, a"
    assert places(found["next"]) == {"node-3": (1, 2, 3, 4)}


def test_a_node_that_is_free_stays_open_if_others_are_free_by_the_time_that_counts() -> None:
    held = [running("a", whole(1, 2), HOUR), running("b", whole(4), 5 * HOUR)]
    found = decide([queued("first", want(2), 9), queued("long", want(1), 8, seconds=9 * HOUR)], held)
    assert reason(found["first"]) == "needs 2 nodes, 1 free; next end ≈ 13:00, a"
    assert places(found["long"]) == {"node-3": tuple(range(8))}


def test_where_no_end_is_known_the_nodes_with_the_fewest_runs_are_kept() -> None:
    held = [running(f"s{slot}", {"node-1": (slot,)}) for slot in range(4)]
    held.append(running("pair", {"node-2": range(6)}))
    held += [running(f"{half}{number}", {f"node-{number}": slots}) for number in (3, 4) for half, slots in HALVES]
    queue = [
        queued("first", want(1), 9),
        queued("next", want(1, 2), 8, seconds=2 * HOUR),
        queued("more", want(1, 3), 7, seconds=2 * HOUR),
    ]
    found = decide(queue, held)
    assert reason(found["first"]) == "needs 1 node, none free; held by left3, left4 and 7 more"
    assert places(found["next"]) == {"node-1": (4, 5)}, "node-2 waits for one run only"
    assert reason(found["more"]) == "needs 3 slots on one node, 2 free on node-1; next end ≈ 14:00, next"


def test_nothing_is_kept_for_a_run_that_could_not_begin_anyhow() -> None:
    after = queued("after", want(4), 9, parents={"sft-0001": State.RUNNING})
    later = queued(
        "later", want(4), 8, not_before=NOON + 60, not_before_reason="tries again at 12:01 (2 of 4): no route"
    )
    others = queued("others", want(4), 7)
    found = decide(
        [after, later, others, queued("next", want(1), 6)], [], {"node-1": NodeStanding({0: "anna@desk: ppo-0012"})}
    )
    assert reason(found["after"]) == "waits for sft-0001 to succeed"
    assert reason(found["later"]) == "tries again at 12:01 (2 of 4): no route"
    assert reason(found["others"]) == "slot 0 of node-1 is held by anna@desk: ppo-0012"
    assert places(found["next"]) == {"node-2": tuple(range(8))}
    assert isinstance(decide([replace(later, not_before=NOON)])["later"], Begin)
    assert isinstance(decide([replace(after, parents={"sft-0001": State.SUCCEEDED})])["after"], Begin)


def test_a_run_that_waits_elsewhere_has_its_own_place_kept() -> None:
    # The first waits for node-1 alone, for days; the second needs all of the others, and must not starve behind it.
    first = queued("first", Want(NODES[:1], 1, 1), 9)
    second = queued("second", want(3), 8)
    held = [running("a", whole(1), 90 * HOUR), running("b", whole(2))]
    found = decide([first, second, queued("third", want(1, 1), 7, seconds=9 * HOUR)], held)
    assert reason(found["third"]) == "behind second, which came first and needs 3 nodes"


def test_a_failed_parent_fails_it_and_a_stopped_one_never_begins() -> None:
    for state in (State.FAILED, State.STOPPED, State.LOST):
        found = decide([queued("x", want(), parents={"sft-0001": State.SUCCEEDED, "sft-0002": state})])["x"]
        told = f"sft-0002, which it comes after, ended as {state}."
        assert found == GiveUp(State.FAILED, ExitCode.RUN_FAILED, told, parent="sft-0002")
    for desired in (Desired.STOP, Desired.STOP_NOW):
        found = decide([queued("x", want(), desired=desired)])["x"]
        assert found == GiveUp(State.STOPPED, ExitCode.INTERRUPTED, "stopped before it started.")
