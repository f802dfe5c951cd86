"""On a drained node nothing new begins, and what runs there goes on. Real dispatcher, real SSH."""

from __future__ import annotations

import pytest

from engine.cli.__main__ import main
from engine.telemetry.states import State
from tests.dispatch.conftest import House


def cluster(house: House, *words: str) -> None:
    hostfile = house.folder / "hosts"
    hostfile.write_text(house.hostfile)
    with pytest.raises(SystemExit) as ended:
        main(["--db", str(house.store.path), "cluster", *words, "--hostfile", str(hostfile)])
    assert ended.value.code == 0


def test_a_queued_run_waits_for_a_drained_node_and_begins_after_undrain_while_one_that_runs_goes_on(
    house: House,
) -> None:
    running = house.launch(steps=150, note="pause=0.02")
    house.until_step(running, 5)
    cluster(house, "drain", "node-2")
    queued = house.launch(steps=20)
    house.succeeded(running, 150)
    house.until(lambda: "node-2 is drained" in (house.get(queued).reason or ""))
    assert house.get(queued).state is State.QUEUED
    cluster(house, "undrain", "node-2")
    house.succeeded(queued, 20)
