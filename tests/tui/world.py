"""A real database with experiments in it, and an app over it that is driven by keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from rich.segment import Segment
from textual.pilot import Pilot
from textual.widget import Widget

from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord, Level, MetricsRecord, Record, SampleRecord, StartRecord
from engine.telemetry.states import State
from tui.app import PlumblineApp
from tui.intents import Intents

SPEC = """
kind: sft
name: {name}
model: {{architecture: {{layers: 2}}, tokenizer: {{}}}}
data: {{train: facts.jsonl}}
train: {{steps: {steps}, lr: {lr}}}
"""
PPO = """
kind: ppo
model: {path: /models/sft}
rewards: {rule: {kind: exact_match}}
data: {train: /data/prompts.jsonl}
"""
HOSTILE = "\x1b[2J[red]gone[/red] \u202e\x07"  # would clear the screen, colour, turn the line round, and beep


class World:
    """One database in a folder; its dispatcher is only asked for, never started."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "experiments.db")
        self.woken: list[Path] = []
        self._offsets: dict[tuple[str, str], int] = {}

    def add(self, name: str, *, steps: int = 100, lr: float = 1e-3, **more: Any) -> str:
        """Queue an experiment."""
        spec = parse_spec(SPEC.format(name="x" if not name.isidentifier() else name, steps=steps, lr=lr))
        return experiments.create(self.store, spec, name=name, **more)

    def add_ppo(self, name: str, **ppo: Any) -> str:
        """Queue one of kind ppo. ppo: keys of that section."""
        spec = parse_spec(PPO, overrides=[f"ppo.{key}={value}" for key, value in ppo.items()])
        return experiments.create(self.store, spec, name=name)

    def begin(self, identity: str, *, resumed: int = 0, hosts: Sequence[str] = (), total: int = 100) -> int:
        """Let the next attempt of it run; returns its number."""
        placement = [
            {"host": host, "index": index, "slots": 1, "first_rank": index} for index, host in enumerate(hosts)
        ]
        number = attempts.begin(self.store, identity, run_dir=f"/runs/{identity}", placement=placement).number
        for state in (State.STARTING, State.RUNNING):
            attempts.transition(self.store, identity, number, state)
        self.ingest(identity, "metrics.jsonl", [StartRecord(time.time(), number, resumed, total)])
        return number

    def train(
        self,
        identity: str,
        steps: Sequence[int],
        loss: Callable[[int], float] = lambda step: 2 / step,
        attempt: int = 1,
        **others: float,
    ) -> None:
        """Let it log these steps. others: further metrics, the same at each of them."""
        more = {"tokens_per_second": 12_000.0} | others
        metrics = [MetricsRecord(time.time(), attempt, step, {"loss": loss(step), **more}) for step in steps]
        self.ingest(identity, "metrics.jsonl", metrics)

    def checkpoint(self, identity: str, step: int, attempt: int = 1) -> None:
        """Let it write a checkpoint."""
        message = f"checkpoint of step {step} is complete"
        self.ingest(identity, "events.jsonl", [EventRecord(time.time(), attempt, "checkpoint", message, step=step)])

    def tell(
        self, identity: str, event: str, message: str, *, step: int, level: Level = Level.INFO, **data: Any
    ) -> None:
        """Let it tell of something."""
        self.ingest(identity, "events.jsonl", [EventRecord(time.time(), 1, event, message, level, step, data)])

    def sample(self, identity: str, step: int, prompt: str, response: str, reference: str | None = None) -> None:
        """Let its model write something."""
        record = SampleRecord(time.time(), 1, step, prompt, response, reference, {"exact": 0.5})
        self.ingest(identity, "samples.jsonl", [record])

    def log(self, identity: str, text: bytes, *, attempt: int = 1, node: int = 0, rank: int = 0) -> Path:
        """Append to the log of a rank, as the dispatcher's mirror does."""
        path = self.store.runs_dir / identity / f"attempt-{attempt}" / f"node-{node}" / f"rank-{rank}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text)
        return path

    def end(self, identity: str, state: State, reason: str | None = None, attempt: int = 1) -> None:
        """Let it end."""
        attempts.transition(self.store, identity, attempt, state, reason=reason)

    def ingest(self, identity: str, file: str, records: Sequence[Record]) -> None:
        """Bring facts in, as the dispatcher does."""
        before = self._offsets.get((identity, file), 0)
        chunk = Chunk(records=list(records), offset=before + len(records), problems=[], truncated=False)
        assert facts.ingest(self.store, identity, file, chunk, before)
        self._offsets[identity, file] = chunk.offset

    def app(self, **more: Any) -> PlumblineApp:
        """Return an app over this database."""
        database = self.store.path
        return PlumblineApp(database, intents=Intents(database, wake=self.woken.append), **more)


def drive(
    app: PlumblineApp, scenario: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (120, 40)
) -> None:
    """Run the app without a terminal, and the scenario against it."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await scenario(pilot)

    asyncio.run(run())


async def until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds; fail with what is on the screen when it never does."""
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up, screen_text(pilot.app.screen)
        await pilot.pause(0.02)


async def shows(pilot: Pilot[None], *texts: str) -> None:
    """Wait until all of these stand on the screen."""
    await until(pilot, lambda: all(text in screen_text(pilot.app.screen) for text in texts))


def screen_text(screen: Widget) -> str:
    """Return what stands on the screen, line by line."""
    return "\n".join("".join(segment.text for segment in line) for line in _lines(screen))


def _lines(screen: Any) -> list[list[Segment]]:
    return [list(strip) for strip in screen._compositor.render_strips()]
