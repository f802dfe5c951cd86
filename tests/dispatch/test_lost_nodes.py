"""Nodes that are switched off: runs go on elsewhere if they may, and wait for their nodes if they may not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.testbed import Testbed
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, series
from engine.telemetry.states import State
from tests.dispatch.conftest import House

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SIM = """
kind: sim
steps: 300
step_seconds: 0.1
checkpoint_every: 5
placement: {{nodes: 2, slots: 1}}
supervision: {{lost_after: 8, retries: 3, elastic: {elastic}}}
"""


@pytest.fixture
def far(tmp_path: Path) -> Iterator[tuple[House, Testbed]]:
    reason = Testbed.can_isolate()
    if reason is not None:
        pytest.skip(f"nodes cannot be switched off here: {reason}")
    with Testbed.start(tmp_path / "ssh", nodes=3, slots=1, workdir=tmp_path / "work", isolated=True) as testbed:
        house = House(tmp_path, testbed.hostfile.read_text(encoding="utf-8"))
        yield house, testbed
        house.close()


def launch(house: House, elastic: str) -> str:
    spec = parse_spec(SIM.format(elastic=elastic))
    identity = experiments.create(house.store, spec, hostfile_text=house.hostfile)
    house.wake()
    house.until_step(identity, 30)
    return identity


def hosts(house: House, identity: str) -> list[str]:
    return [seat["host"] for seat in attempts.list_attempts(house.store, identity)[-1].placement]


@pytest.mark.parametrize("off", [0, 1])
def test_an_elastic_run_goes_on_with_another_node_and_nothing_is_left_on_the_lost_one(
    far: tuple[House, Testbed], off: int
) -> None:
    house, testbed = far
    identity = launch(house, "true")
    before = hosts(house, identity)
    testbed.kill_node(int(before[off].removeprefix("node-")))
    house.until(lambda: house.get(identity).attempts == 2, 120)
    house.until(lambda: house.get(identity).state.ended, 180)
    found = house.get(identity)
    assert (found.state, found.attempts) == (State.SUCCEEDED, 2), found
    assert before[off] not in hosts(house, identity)
    assert list(series.read(house.store, identity, "loss").step) == list(range(1, 301))
    assert attempts.list_attempts(house.store, identity)[0].state is State.LOST
    testbed.boot_node(int(before[off].removeprefix("node-")))
    house.wake()
    house.until(lambda: all(each.cleared for each in attempts.contacts(house.store, identity)), 120)


def test_a_run_that_may_not_move_waits_for_its_node_and_goes_on_there(far: tuple[House, Testbed]) -> None:
    house, testbed = far
    identity = launch(house, "false")
    before = hosts(house, identity)
    node = int(before[1].removeprefix("node-"))
    testbed.kill_node(node)
    house.until(lambda: house.get(identity).state is State.QUEUED, 120)
    house.until(lambda: "cannot be reached" in str(house.get(identity).reason), 60)
    testbed.boot_node(node)
    house.until(lambda: house.get(identity).state.ended, 180)
    found = house.get(identity)
    assert found.state is State.SUCCEEDED, found
    assert hosts(house, identity) == before
