"""What the tests of the terminal UI share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty database, in a folder that is also the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    found = World(tmp_path)
    yield found
    found.store.close()


@pytest.fixture
def running(world: World) -> str:
    """An experiment that has taken 40 of 100 steps on two nodes."""
    identity = world.add("one")
    world.begin(identity, hosts=("n1", "n2"))
    world.train(identity, range(1, 41), lr=1e-3, grad_norm=1.0, tokens=5.0)
    return identity
