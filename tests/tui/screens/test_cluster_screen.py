"""The Cluster screen over real rows of a database: slots, runs and ranks; preflight and draining."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.cluster.testbed import Testbed
from engine.store import attempts
from engine.store import nodes as store_nodes
from engine.telemetry.states import State
from tests.tui.world import HOSTILE, World, drive, screen_text, shows, until
from tui.cluster.slot_cells import GridCell, rate
from tui.screens.cluster import ClusterScreen
from tui.screens.run import RunScreen
from tui.widgets.slot_grid import SlotGrid
from tui.widgets.status_line import StatusLine

HOSTFILE = "n0 slots=4\nn1 slots=4\nn2 slots=4\n"


def gpus(busy: int, **more: Any) -> list[dict[str, Any]]:
    """Four GPUs, as a node tells of them."""
    gpu = {"name": "H100", "memory_used_bytes": 71e9, "memory_total_bytes": 80e9, "temperature_c": 73, "power_w": 612.0}
    return [{**gpu, "index": index, "utilization_percent": busy - index, "xid": None, **more} for index in range(4)]


def hear(world: World, host: str, *, ago: float = 1.0, message: str | None = None, **standing: Any) -> None:
    """Let a node tell how it stands."""
    cpu = {"cores": 16, "percent": 12.0, "load": [3.1, 2.0, 1.0]}
    told = {"cpu": cpu, "memory": {"used_bytes": 2e9, "total_bytes": 8e9}, "leases": {}, "problems": [], **standing}
    heard = time.time() - ago
    store_nodes.hear(world.store, host, host, heard_at=heard, message=message, standing=told, sample=True)


def seat(world: World, name: str, hosts: list[str], ago: float = 0.0, **rank: Any) -> str:
    """A run that has all slots of these nodes, heard `ago` seconds ago.

    rank: of the last rank, what differs from the others.
    """
    identity = world.add(name, hostfile="hosts", hostfile_text=HOSTFILE)
    placement = [
        {"host": host, "index": index, "slots": 4, "first_rank": 4 * index} for index, host in enumerate(hosts)
    ]
    attempts.begin(world.store, identity, run_dir="/runs/x", placement=placement)
    for state in (State.STARTING, State.RUNNING):
        attempts.transition(world.store, identity, 1, state)
    fine = {"pid": 412, "state": "S", "step": 88, "phase": "forward_backward", "ago": 0.5, "cpu_percent": 140}
    for index, host in enumerate(hosts):
        ranks = {str(4 * index + slot): {**fine, "resident_bytes": 3e9} for slot in range(4)}
        if index == len(hosts) - 1:
            ranks[str(4 * index + 3)] |= rank
        pulse = {"ranks": ranks}
        attempts.hear(world.store, identity, 1, index, host, heard_at=time.time() - ago, message=None, pulse=pulse)
    return identity


def said(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query_one(StatusLine).sentence


async def go(pilot: Pilot[None], *texts: str) -> None:
    await until(pilot, lambda: pilot.app.store_is_open)  # type: ignore[attr-defined]
    await pilot.press("5")
    await shows(pilot, *texts)


@pytest.mark.presses("cluster-open", "go-cluster")
def test_the_grid_binds_slots_to_runs_and_tells_of_the_one_under_the_cursor(world: World) -> None:
    first = seat(world, "first", ["n0"])
    seat(world, "second", ["n1"], state="T")
    hear(world, "n0", gpus=gpus(97))
    hear(world, "n1", leases={"0": {"user": "anna"}})
    hear(world, "n2", leases={"2": {"user": f"anna{HOSTILE}", "host": "desk", "experiment": "ppo-0012"}})

    async def scenario(pilot: Pilot[None]) -> None:
        await go(pilot, "3 nodes, 9 of 12 slots busy", "A▇97", "A▇94", "B▇140", "A sft-0001 first", "# others")
        await shows(
            pilot, "n0 : slot 0  H100", "71.0 GB of 80.0 GB (89%)", "612 W, 73 °C", "rank      0, pid 412", "1 slow"
        )
        await pilot.press("down", "right", "right", "right")
        await shows(pilot, "n1 : slot 3", "its process is stopped", "88, forward backward", "140% of a core", "3.0 GB")
        await pilot.press("j", "left")
        await shows(pilot, "held by", "anna", "desk: ppo-0012")
        assert "\x1b" not in screen_text(pilot.app.screen)
        await pilot.press("enter")
        await until(pilot, lambda: "No run of this database" in said(pilot))
        await pilot.press("g", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.experiment_id == first)

    drive(world.app(), scenario)


def test_a_silent_node_says_its_age_and_faults_are_marked(world: World) -> None:
    seat(world, "one", ["n0"])
    seat(world, "two", ["n1"], ago=7200.0)
    xid = {"code": 79, "text": "GPU has fallen off the bus"}
    hear(world, "n0", gpus=gpus(50, xid=xid))
    hear(world, "n1", ago=7200.0, message="n1 does not answer.")
    hear(world, "n2", gpus=gpus(50, xid=xid))

    async def scenario(pilot: Pilot[None]) -> None:
        await go(pilot, "silent 2h00", "A✕XID", "✕XID  ✕XID", "XID 79: GPU has fallen off the bus", "✕ fault")
        await pilot.press("down")
        await shows(pilot, "values below are old", "n1 does not answer.")

    drive(world.app(), scenario)


@pytest.mark.presses("drain")
def test_draining_asks_names_the_node_and_what_goes_on_and_can_be_undone(world: World) -> None:
    seat(world, "one", ["n0"])
    world.add("two", hostfile="hosts", hostfile_text=HOSTFILE)
    hear(world, "n0")

    async def scenario(pilot: Pilot[None]) -> None:
        await go(pilot, "3 nodes", "1 wait for slots: 4 says why")
        await pilot.press("D")
        await shows(pilot, "Drain node n0?", "sft-0001 goes on", "engine cluster drain n0 --hostfile hosts")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ClusterScreen))
        assert not store_nodes.drained(world.store) and not world.woken
        await pilot.press("D")
        await shows(pilot, "Drain node n0?")
        await pilot.press("y")
        await until(pilot, lambda: store_nodes.drained(world.store) == {"n0"} and bool(world.woken))
        await shows(pilot, "drained")
        await pilot.press("D")
        await shows(pilot, "Undrain node n0?", "may begin there at once")
        await pilot.press("y")
        await until(pilot, lambda: not store_nodes.drained(world.store))

    drive(world.app(), scenario)
    looking = world.app(readonly=True)

    async def only_looking(pilot: Pilot[None]) -> None:
        await go(pilot, "3 nodes")
        await pilot.press("D")
        await until(pilot, lambda: "Read-only" in said(pilot))

    drive(looking, only_looking)


@pytest.mark.presses("cluster-hosts", "cluster-check", "cluster-back")
def test_a_hostfile_is_chosen_and_its_preflight_stands_in_a_pane(world: World) -> None:
    Path("hostfiles").mkdir()
    Path("hostfiles/here").write_text("localhost slots=2\n")
    Path("hostfiles/broken").write_text("n0 slots=many\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await go(pilot, "No nodes yet.", "h  chooses a hostfile")
        await pilot.press("p")
        await until(pilot, lambda: "h chooses one" in said(pilot))
        await pilot.press("h")
        await shows(pilot, "which nodes", "hostfiles/broken")
        await pilot.press(*["down"] * position(pilot, "hostfiles/broken"), "enter")
        await shows(pilot, "is no line of a hostfile")
        await pilot.press("h")
        await shows(pilot, "which nodes")
        await pilot.press("home", *["down"] * position(pilot, "hostfiles/here"), "enter")
        await shows(pilot, "1 node, 0 of 2 slots busy", "localhost", "never heard")
        await pilot.press("p")
        await shows(pilot, "preflight of hostfiles/here", "esc gives up")
        await until(pilot, lambda: "looking at the nodes" not in screen_text(pilot.app.screen), seconds=60)
        assert "localhost  " in screen_text(pilot.app.screen) and " s ─" in screen_text(pilot.app.screen)
        await pilot.press("escape")
        await until(pilot, lambda: "preflight of" not in screen_text(pilot.app.screen))

    drive(world.app(), scenario)


def test_preflight_of_real_nodes_names_the_one_that_does_not_answer(world: World, tmp_path: Path) -> None:
    with Testbed.start(tmp_path / "ssh", nodes=2, slots=1, workdir=tmp_path / "work") as nodes:
        nodes.stop_node(2)

        async def scenario(pilot: Pilot[None]) -> None:
            await go(pilot, "2 nodes, 0 of 2 slots busy", "node-1", "node-2")
            await pilot.press("p")
            await until(pilot, lambda: "1 failed, 0 warned" in screen_text(pilot.app.screen), seconds=60)
            await shows(pilot, "node-1  ok", "things looked at", "FAIL", "node-2: port", "refuses the connection")
            nodes.start_node(2)
            await pilot.press("p")
            await until(pilot, lambda: "all nodes are ready" in screen_text(pilot.app.screen), seconds=60)
            await shows(pilot, "node-1  ok", "node-2  ok")

        drive(world.app(hostfiles=[nodes.hostfile]), scenario)


def position(pilot: Pilot[None], text: str) -> int:
    """How far below the cursor's first line a choice of the menu stands."""
    lines = [line for line in screen_text(pilot.app.screen).splitlines() if "│" in line]
    first = next(place for place, line in enumerate(lines) if "all nodes of live runs" in line)
    return next(place for place, line in enumerate(lines) if text in line) - first


@pytest.mark.presses("cluster-pane", "cluster-back")
@pytest.mark.parametrize("size", [(80, 24), (240, 70)])
def test_it_holds_in_every_size(world: World, size: tuple[int, int]) -> None:
    seat(world, "one", ["n0", "n1"])
    hear(world, "n0", gpus=gpus(97))

    async def scenario(pilot: Pilot[None]) -> None:
        await go(pilot, "n0", "A▇97", "3 nodes")
        await pilot.press("tab")
        await shows(pilot, "n0 : slot 0")
        await pilot.press("escape")
        await shows(pilot, "3 nodes")

    drive(world.app(), scenario, size=size)


def test_the_grid_wraps_what_is_wider_than_it_and_the_cursor_reaches_all(world: World) -> None:
    hosts = "".join(f"node-{number:02d} slots=16\n" for number in range(20))
    world.add("one", hostfile="big", hostfile_text=hosts)

    async def scenario(pilot: Pilot[None]) -> None:
        await go(pilot, "20 nodes", "node-00")
        assert "node-19" not in screen_text(pilot.app.screen)
        await pilot.press("G", *["right"] * 20)
        assert pilot.app.screen.query_one(SlotGrid).cursor == (19, 15)
        await shows(pilot, "node-19")
        await pilot.press("tab")
        await shows(pilot, "node-19 : slot 15")

    drive(world.app(), scenario, size=(60, 15))


def test_cells_and_rates_are_short() -> None:
    assert GridCell("A", "▇100", "run-0").load == "▇100"
    assert [rate(value) for value in (0, 10_000, 1.2e9)] == ["0 b/s", "80 kb/s", "9.6 Gb/s"]
