"""Several runs, and several people's databases, on the same nodes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from engine.spec.loading import parse_spec
from engine.store import attempts, experiments
from engine.store import nodes as store_nodes
from engine.telemetry.states import Desired, State
from tests.dispatch.conftest import House

SIM = "kind: sim\nsteps: {steps}\nstep_seconds: 0.05\nplacement: {{nodes: {nodes}, slots: {slots}, share: {share}}}\n"


def launch(house: House, *, nodes: int = 1, slots: int = 1, steps: int = 20, share: str = "false") -> str:
    spec = parse_spec(SIM.format(nodes=nodes, slots=slots, steps=steps, share=share))
    identity = experiments.create(house.store, spec, hostfile_text=house.hostfile)
    house.wake()
    return identity


def taken(house: House, identity: str) -> set[tuple[str, int]]:
    placement = attempts.list_attempts(house.store, identity)[-1].placement
    return {(seat["host"], slot) for seat in placement for slot in seat["slot_numbers"]}


def test_runs_on_single_slots_run_side_by_side_and_share_none(house: House) -> None:
    ids = [launch(house, steps=100) for _ in range(4)]
    house.until(lambda: all(house.get(identity).state is State.RUNNING for identity in ids))
    slots = [taken(house, identity) for identity in ids]
    assert len(set.union(*slots)) == 4 and all(len(each) == 1 for each in slots)
    for identity in ids:
        experiments.set_desired(house.store, identity, Desired.STOP_NOW)


def test_two_databases_never_hold_one_slot_and_the_second_is_told_who_has_it(house: House, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other", house.hostfile)
    try:
        first = launch(house, nodes=2, slots=2, steps=5000)  # until it is stopped, however late the second comes
        house.until_step(first, 1)
        second = launch(other, nodes=1, slots=1)
        other.until(lambda: f": {first}" in str(other.get(second).reason))
        experiments.set_desired(house.store, first, Desired.STOP_NOW)
        assert house.ended(first).state is State.STOPPED
        assert other.ended(second).state is State.SUCCEEDED
        began = house.get(first).started_at
        assert began is not None and attempts.list_attempts(other.store, second)[-1].created_at > began
    finally:
        other.close()


def test_runs_that_share_run_on_the_same_slots_at_once(house: House) -> None:
    ids = [launch(house, nodes=2, slots=2, steps=100, share="true") for _ in range(2)]
    house.until(lambda: all(house.get(identity).state is State.RUNNING for identity in ids))
    assert taken(house, ids[0]) == taken(house, ids[1])
    for identity in ids:
        experiments.set_desired(house.store, identity, Desired.STOP_NOW)


def test_how_the_nodes_stand_is_in_the_database(house: House) -> None:
    identity = launch(house, nodes=2, slots=2, steps=300)
    house.until_step(identity, 1)
    house.until(lambda: all((each.standing or {}).get("leases") for each in store_nodes.list_nodes(house.store)))
    found = {each.host: each for each in store_nodes.list_nodes(house.store)}
    assert set(found) == {"node-1", "node-2"}
    for each in found.values():
        standing = each.standing or {}
        assert {holder["experiment"] for holder in standing["leases"].values()} == {identity}
        assert standing["memory"]["total_bytes"] > 0 and each.heard_at is not None and each.message is None
        assert store_nodes.samples(house.store, each.key)
    experiments.set_desired(house.store, identity, Desired.STOP_NOW)


def test_an_elastic_run_goes_on_elsewhere_when_a_rank_was_killed(house: House) -> None:
    text = SIM.format(nodes=1, slots=2, steps=200, share="false") + "supervision: {elastic: true}\n"
    identity = experiments.create(house.store, parse_spec(text), hostfile_text=house.hostfile)
    house.wake()
    house.until_step(identity, 5)
    first = attempts.list_attempts(house.store, identity)[0]
    folder = Path(first.run_dir) / "attempt-1" / "node-0"
    ranks = json.loads((folder / "heartbeat.json").read_text())["ranks"]
    os.kill(int(ranks["0"]["pid"]), signal.SIGKILL)
    assert house.ended(identity).state is State.SUCCEEDED
    hosts = [each.placement[0]["host"] for each in attempts.list_attempts(house.store, identity)]
    assert len(hosts) == 2 and hosts[0] != hosts[1]
