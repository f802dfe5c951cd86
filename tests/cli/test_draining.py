"""`engine cluster drain`: what it says, and what it refuses. That nothing begins there: tests/dispatch."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.dispatch import lifecycle
from tests.cli.conftest import Engine


@pytest.fixture
def hostfile(tmp_path: Path) -> str:
    path = tmp_path / "hosts"
    path.write_text("worker-1 slots=8\nworker-2 slots=8\nworker-3 slots=8\n")
    return str(path)


def test_drained_nodes_are_told_once_and_no_dispatcher_is_woken_for_them(
    engine: Engine, database: Path, hostfile: str
) -> None:
    said = engine("cluster", "drain", "worker-2", "worker-3", "worker-2", "--hostfile", hostfile)
    assert (said.code, said.out.splitlines()) == (
        0,
        [f"worker-{index} is drained: nothing new begins there." for index in (2, 3)],
    )
    again = engine("cluster", "drain", "worker-2", "--hostfile", hostfile)
    assert again.out == "worker-2 is drained: nothing new begins there, as before.\n"
    back = engine("cluster", "undrain", "worker-2", "--hostfile", hostfile, "--json")
    assert back.json["nodes"] == [{"host": "worker-2", "drained": False, "changed": True}]
    assert not lifecycle.status(database).running


def test_an_unknown_node_is_code_3_with_the_nearest_name_and_nothing_is_drained(
    engine: Engine, database: Path, hostfile: str
) -> None:
    said = engine("cluster", "drain", "worker-1", "worker3", "--hostfile", hostfile)
    assert said.code == 3 and "there is no node worker3. Did you mean worker-3?" in said.err
    assert not database.exists()


def test_status_marks_drained_nodes(engine: Engine, database: Path, tmp_path: Path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("localhost slots=2\n")
    asked = ("cluster", "status", "--hostfile", str(hostfile))
    assert engine(*asked, "--json").json["nodes"][0]["drained"] is None
    assert not database.exists()
    engine("cluster", "drain", "localhost", "--hostfile", str(hostfile))
    assert engine(*asked, "--json").json["nodes"][0]["drained"] is True
    assert ", drained" in engine(*asked).out  # free or partly: another test may hold a slot of this machine
