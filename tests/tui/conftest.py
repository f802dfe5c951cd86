"""What the tests of the terminal UI share."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import pytest

from engine.telemetry.records import MetricsRecord
from engine.telemetry.states import State
from tests.tui.pressing import pressed
from tests.tui.screens.compare_screen import PROMPT
from tests.tui.world import World


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test that is marked as pressing the keys of actions, and does not."""
    claimed = {identity for mark in item.iter_markers("presses") for identity in mark.args}
    if not claimed:
        yield
        return
    with pressed() as found:
        yield
    assert claimed <= found, f"marked as pressing {', '.join(sorted(claimed - found))}, which no key did in it"


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


@pytest.fixture
def pair(world: World) -> tuple[str, str]:
    """Two PPO runs with curves and samples of two checkpoints."""
    ids = world.add_ppo("first", kl_target=3.0), world.add_ppo("second", kl_target=6.0)
    for number, identity in enumerate(ids):
        world.begin(identity)
        metrics = [
            MetricsRecord(
                0.0 + step, 1, step, {"score": step / 40 + number, "kl": step / 10 * (number + 1), "entropy": 1.0}
            )
            for step in range(1, 41)
        ]
        world.ingest(identity, "metrics.jsonl", metrics)
        for step in (20, 40):
            world.sample(identity, step, PROMPT, "It opened in 1937.", "in 1937")
            second = "It opened in 1937." if number == 0 else "It opened in 1937. He sang."
            world.sample(identity, step, f"{PROMPT} Tell more.", second)
        world.end(identity, State.SUCCEEDED)
    return ids


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The experiments of each page that is asked for; none is made."""
    asked: list[list[str]] = []

    async def write_page(database: Path, ids: Sequence[str], folder: Path) -> Path:
        asked.append(list(ids))
        return folder / f"{'-'.join(ids)}.html"

    monkeypatch.setattr("tui.page_file.write_page", write_page)
    return asked
