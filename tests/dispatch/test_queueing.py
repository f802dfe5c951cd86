"""Who may begin: first come, first served, and nobody starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.dispatch.queueing import Begin, GiveUp, Queued, Wait, verdicts
from engine.errors import ExitCode
from engine.telemetry.states import Desired, State

HOSTS = ["n1", "n2", "n3", "n4"]


def queued(identity: str, *hosts: str, desired: Desired = Desired.RUN, **parents: State) -> Queued:
    return Queued(identity, desired, {name.replace("_", "-"): state for name, state in parents.items()}, hosts)


host_sets = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=4, unique=True)


@given(st.lists(host_sets, max_size=8), st.dictionaries(st.sampled_from(HOSTS), st.just("sft-9999")))
def test_no_node_is_given_to_two_and_the_oldest_is_never_overtaken_on_its_nodes(
    wanted: list[list[str]], taken: dict[str, str]
) -> None:
    queue = [queued(f"sft-{number:04}", *hosts) for number, hosts in enumerate(wanted)]
    found = verdicts(queue, taken)
    holders = dict(taken)
    for each in queue:
        verdict = found[each.id]
        if isinstance(verdict, Begin):
            assert not set(each.hosts) & set(holders)
        else:
            assert isinstance(verdict, Wait)
            assert set(each.hosts) & set(holders)
        for host in each.hosts:
            holders.setdefault(host, each.id)


def test_the_reason_names_whom_and_what_it_waits_for() -> None:
    found = verdicts([queued("sft-0002", "n1", "n2"), queued("sft-0003", "n2", "n3")], {"n1": "sft-0001"})
    assert found["sft-0002"] == Wait("waits for sft-0001 to free n1")
    assert found["sft-0003"] == Wait("waits for sft-0002 to free n2")


def test_a_run_after_others_waits_for_their_success_and_takes_no_node_before() -> None:
    early, late = queued("rm-0001", "n1", sft_0001=State.RUNNING), queued("sft-0002", "n1")
    found = verdicts([early, late], {})
    assert found["rm-0001"] == Wait("waits for sft-0001 to succeed")
    assert found["sft-0002"] == Begin()
    assert verdicts([queued("rm-0001", "n1", sft_0001=State.SUCCEEDED)], {})["rm-0001"] == Begin()


def test_a_run_after_a_failed_one_fails_and_a_stopped_one_never_begins() -> None:
    found = verdicts([queued("rm-0001", "n1", sft_0001=State.LOST)], {})["rm-0001"]
    assert isinstance(found, GiveUp)
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.RUN_FAILED)
    assert "sft-0001, which it comes after, ended as lost" in found.reason
    for desired in (Desired.STOP, Desired.STOP_NOW):
        found = verdicts([queued("sft-0001", "n1", desired=desired)], {})["sft-0001"]
        assert isinstance(found, GiveUp) and found.state is State.STOPPED
