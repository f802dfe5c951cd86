"""Make docs/screenshots/*.svg: the running program over a database with a believable history. `make screenshots`.

Seed, clock and time zone are fixed, so that the pictures change only when the program does. With --keep FOLDER the
database stays there, to be looked at: `plumbline --db FOLDER/experiments.db`.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from textual.pilot import Pilot

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

import tui.data  # noqa: E402
from engine.spec.loading import parse_spec  # noqa: E402
from engine.store import attempts, events, experiments, facts  # noqa: E402
from engine.store.database import Store  # noqa: E402
from engine.telemetry.reader import Chunk  # noqa: E402
from engine.telemetry.records import (  # noqa: E402
    EVENTS_FILE,
    METRICS_FILE,
    SAMPLES_FILE,
    EventRecord,
    Level,
    MetricsRecord,
    Record,
    SampleRecord,
    StartRecord,
)
from engine.telemetry.states import Desired, State  # noqa: E402
from tui.app import PlumblineApp  # noqa: E402
from tui.intents import Intents  # noqa: E402

NOW = 1_780_000_000.0  # a Thursday in May 2026
SPEC = """
kind: sft
name: {name}
note: {note}
model: {{path: models/qwen2.5-7b}}
data: {{train: data/{data}.jsonl, eval: data/{data}-eval.jsonl, max_length: 1024, packing: {packing}}}
train: {{steps: {steps}, lr: {lr}, batch_size: {batch}, eval_every: 100, checkpoint_every: 250, zero_stage: 3}}
"""
HOSTFILE = "".join(f"n{node} slots=8\n" for node in range(4))
QUESTIONS = (
    ("When was the Golden Gate Bridge opened?", "On 27 May 1937.", "It was opened on 12 June 1934 by the mayor."),
    ("Who wrote the novel Middlemarch?", "George Eliot.", "Charlotte Brontë wrote it in 1852."),
    ("What is the capital of Kyrgyzstan?", "Bishkek.", "The capital is Astana."),
    ("Which of its moons is Saturn's largest?", "Titan.", "Saturn's largest moon is Rhea."),
)


@dataclass(slots=True)
class Clock:
    """The time of the database and of the program."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Course:
    """How the loss of a run goes."""

    steps: int
    floor: float
    speed: float  # share of the steps in which it falls by e
    seconds: float  # of a step
    tokens: float  # of a step
    lr: float
    diverges_at: int | None = None

    def metrics(self, step: int, noise: np.random.Generator) -> dict[str, float]:
        """Return what is measured at a step."""
        fallen = 1.9 * math.exp(-step / (self.speed * self.steps)) + 0.5 * math.exp(-step / 25)
        loss = self.floor + fallen + float(noise.normal(0, 0.035 + 0.05 * fallen))
        gradient = 0.7 + 2.4 * math.exp(-step / 60) + float(noise.gamma(2.0, 0.12))
        if self.diverges_at is not None and step > self.diverges_at:
            loss += math.exp((step - self.diverges_at) / 9) - 1
            gradient *= math.exp((step - self.diverges_at) / 12)
            if loss > 60:
                loss = gradient = math.nan
        if step % 397 == 0:
            gradient += 6.0
        pace = self.seconds * (1 + abs(float(noise.normal(0, 0.03)))) * (1.8 if step % 250 == 0 else 1.0)
        warm = min(1.0, step / 50)
        share = max(0.0, (step - 50) / max(1, self.steps - 50))
        return {
            "loss": loss,
            "lr": self.lr * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * share))),
            "grad_norm": gradient,
            "tokens_per_second": self.tokens / pace,
            "seconds_per_step": pace,
            "memory_bytes": 61.2e9 + 1.5e9 * min(1.0, step / 40),
            "tokens": self.tokens * step,
        }

    def eval_loss(self, step: int) -> float:
        """Return the loss on held-out rows."""
        return self.floor + 0.08 + 1.85 * math.exp(-step / (self.speed * self.steps))


class History:
    """Writes what the dispatcher and the nodes of believable runs would have written."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self._noise = np.random.default_rng(7)
        self._offsets: dict[tuple[str, str], int] = {}

    def add(self, name: str, at: float, *, cluster: bool = True, parent: str | None = None, tags: tuple[str, ...] = (),
            note: str = "", data: str = "faithdial", packing: bool = False, steps: int = 1500, lr: float = 1e-5,
            batch: int = 256) -> str:  # fmt: skip
        """Queue an experiment. at: hours before now."""
        self.clock.now = NOW - 3600 * at
        spec = parse_spec(
            SPEC.format(
                name=name, note=note or "null", data=data, packing=str(packing).lower(), steps=steps, lr=lr, batch=batch
            )
        )
        hostfile = str(REPOSITORY / "hostfiles" / "four-nodes") if cluster else None
        return experiments.create(
            self.store,
            spec,
            tags=tags,
            parent_id=parent,
            hostfile=hostfile and "hostfiles/four-nodes",
            hostfile_text=HOSTFILE if cluster else None,
        )

    def begin(self, identity: str, course: Course, *, nodes: int = 4, resumed: int = 0) -> int:
        """Begin an attempt, which runs then."""
        hosts = [f"n{node}" for node in range(nodes)] if nodes else ["localhost"]
        placement = [
            {"host": host, "index": index, "slots": 8, "first_rank": 8 * index} for index, host in enumerate(hosts)
        ]
        attempt = attempts.begin(self.store, identity, run_dir=f"/data/plumbline/{identity}", placement=placement)
        for state in (State.STARTING, State.RUNNING):
            self.clock.now += 12
            attempts.transition(self.store, identity, attempt.number, state)
        self._ingest(identity, METRICS_FILE, [StartRecord(self.clock.now, attempt.number, resumed, course.steps)])
        self._event(identity, attempt.number, "started" if not resumed else "resumed", resumed, (
            f"Started: {course.steps} steps." if not resumed else f"Resumed from step {resumed} of {course.steps}."
        ))  # fmt: skip
        return attempt.number

    def train(self, identity: str, attempt: int, course: Course, first: int, last: int) -> None:
        """Let an attempt take the steps first..last."""
        metrics: list[Record] = []
        samples: list[Record] = []
        log: list[str] = []
        for step in range(first, last + 1):
            values = course.metrics(step, self._noise)
            self.clock.now += values["seconds_per_step"]
            now = self.clock.now
            metrics.append(MetricsRecord(now, attempt, step, values))
            told = "  ".join(f"{name} {values[name]:.4g}" for name in ("loss", "lr", "grad_norm", "tokens_per_second"))
            log.append(f"step {step}/{course.steps}  {told}")
            if step % 100 == 0:
                loss = course.eval_loss(step)
                metrics.append(
                    MetricsRecord(now, attempt, step, {"eval_loss": loss, "eval_perplexity": math.exp(min(loss, 700))})
                )
                for place, (prompt, truth, guess) in enumerate(QUESTIONS):
                    answer = truth if step > 350 * (place + 1) else guess
                    samples.append(SampleRecord(now, attempt, step, prompt, answer, truth))
                self._event(identity, attempt, "evaluated", step, f"Evaluated 512 rows at step {step}.")
                log.append(f"Evaluated 512 rows at step {step}: eval_loss {loss:.4f}")
            if step % 250 == 0:
                self._event(identity, attempt, "checkpoint", step, f"Saved checkpoints/step-{step:08d}.")
                log.append(f"Saved checkpoints/step-{step:08d}.")
        self._ingest(identity, METRICS_FILE, metrics)
        self._ingest(identity, SAMPLES_FILE, samples)
        self._log(identity, attempt, log)

    def hear(self, identity: str, attempt: int, *, silent: dict[int, tuple[float, str]] | None = None) -> None:
        """Tell when its nodes were heard. silent: seconds and reason by node."""
        for node in range(4):
            seconds, message = (silent or {}).get(node, (1.0, None))
            attempts.hear(self.store, identity, attempt, node, f"n{node}", NOW - seconds, message)

    def end(self, identity: str, attempt: int, state: State, reason: str | None = None, code: int = 0) -> None:
        """Let an attempt end."""
        attempts.transition(self.store, identity, attempt, state, reason=reason, exit_code=code)

    def _event(self, identity: str, attempt: int, name: str, step: int, message: str) -> None:
        record = EventRecord(self.clock.now, attempt, name, message, Level.INFO, step)
        self._ingest(identity, EVENTS_FILE, [record])

    def _log(self, identity: str, attempt: int, lines: list[str]) -> None:
        for node, ranks in ((0, (0, 1)), (1, (8,))):
            folder = self.store.runs_dir / identity / f"attempt-{attempt}" / f"node-{node}"
            folder.mkdir(parents=True, exist_ok=True)
            for rank in ranks:
                with (folder / f"rank-{rank}.log").open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in (lines if rank == 0 else ["NCCL is ready: 32 ranks."]))

    def _ingest(self, identity: str, file: str, records: list[Record]) -> None:
        before = self._offsets.get((identity, file), 0)
        chunk = Chunk(records, before + len(records), (), False)
        assert facts.ingest(self.store, identity, file, chunk, before)
        self._offsets[identity, file] = chunk.offset


def fill(store: Store, clock: Clock) -> None:
    """Write the history: runs that succeeded, diverged, were stopped, were resumed; two that run, two that wait."""
    history = History(store, clock)
    base = history.add("baseline", 52, tags=("base",), note="alpaca + faithdial, first full run", lr=1e-5)
    course = Course(1500, 1.12, 0.22, 4.1, 262_144, 1e-5)
    history.train(base, history.begin(base, course), course, 1, 1500)
    history.end(base, 1, State.SUCCEEDED)

    hot = history.add("lr-2e-4", 49, parent=base, tags=("sweep",), lr=2e-4)
    course = Course(1500, 1.3, 0.16, 4.1, 262_144, 2e-4, diverges_at=566)
    history.train(hot, history.begin(hot, course), course, 1, 640)
    history.end(hot, 1, State.FAILED, "rank 0 (n0) exited with code 1: the loss is not finite since step 604", 1)

    warm = history.add("lr-4e-5", 46, parent=base, tags=("sweep",), lr=4e-5)
    course = Course(2000, 1.02, 0.18, 4.1, 262_144, 4e-5)
    history.train(warm, history.begin(warm, course), course, 1, 1130)
    history.end(warm, 1, State.LOST, "n2 was not heard for 600 s", 5)
    clock.now += 1800
    experiments.resume(store, warm)
    history.train(warm, history.begin(warm, course, resumed=1000), course, 1001, 2000)
    history.end(warm, 2, State.SUCCEEDED)

    packed = history.add("packed", 30, parent=base, packing=True, tags=("speed",))
    course = Course(1500, 1.1, 0.2, 2.6, 262_144, 1e-5)
    history.train(packed, history.begin(packed, course), course, 1, 480)
    experiments.set_desired(store, packed, Desired.STOP)
    history.end(packed, 1, State.STOPPED)

    faithful = history.add(
        "faithful-v3", 2.1, parent=warm, tags=("base", "paper"), steps=2000, lr=4e-5, data="faithdial-v3",
        note="answers without support removed",
    )  # fmt: skip
    course = Course(2000, 0.86, 0.17, 4.1, 262_144, 4e-5)
    clock.now = NOW - 1620 * 4.19
    attempt = history.begin(faithful, course)
    history.train(faithful, attempt, course, 1, 1130)
    small = history.add("facts-tiny", 0.7, cluster=False, steps=600, lr=3e-3, batch=32, data="facts")
    course = Course(600, 0.18, 0.3, 0.35, 4_096, 3e-3)
    clock.now = NOW - 140
    history.train(small, history.begin(small, course, nodes=0), course, 1, 300)

    clock.now = NOW - 300
    experiments.set_state(store, history.add("longer-context", 0.4, parent=faithful, steps=3000), State.QUEUED,
                          reason="waits for 32 slots: 0 of 32 are free")  # fmt: skip
    history.add("seed-2", 0.2, parent=faithful, tags=("paper",), steps=2000, lr=4e-5)
    clock.now = NOW
    history.hear(faithful, attempt)
    attempts.hear(store, small, 1, 0, "localhost", NOW - 1, None)
    events.add(
        store, faithful, attempt, "warning", "n1: the step took 1.8 times the median.", level=Level.WARNING, step=1000
    )


def fixed_world(clock: Clock) -> None:
    """Fix clock, time zone, locale and what is seen of the dispatcher."""
    os.environ |= {"TZ": "UTC", "LC_ALL": "C.UTF-8"}
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    time.time = clock
    tui.data._dispatcher_pid = lambda path: 4021


Keys = tuple[str, ...]
PICTURES: dict[str, tuple[tuple[int, int], str | None, Keys, str]] = {
    # name: size, experiment to open, keys, what stands on the screen when it is ready
    "runs": ((120, 34), None, ("down", "down", "down"), "last metrics"),
    "run": ((120, 40), "faithful-v3", (), "following"),
    "run-narrow": ((80, 24), "faithful-v3", (), "pgdn"),
    "launch": ((120, 34), None, ("n", "tab", *"recipes/facts/sft.yaml", "tab", "down"), "8 nodes, 64 ranks"),
}


def take(database: Path, size: tuple[int, int], experiment: str | None, keys: Keys, ready: str) -> str:
    """Return a picture of the program, as SVG."""
    app = PlumblineApp(database, experiment=experiment, intents=Intents(database, wake=lambda path: None))

    async def run() -> str:
        async with app.run_test(size=size) as pilot:
            await _until(pilot, lambda: "tok/s" in _text(pilot) or (experiment is None and "runs" in _text(pilot)))
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.2)
            await _until(pilot, lambda: ready in _text(pilot))
            await pilot.pause(0.5)
            return app.export_screenshot(title="plumbline")

    return asyncio.run(run())


async def _until(pilot: Pilot[None], holds: Callable[[], bool], seconds: float = 30.0) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > give_up:
            raise TimeoutError(_text(pilot))
        await pilot.pause(0.05)


def _text(pilot: Pilot[None]) -> str:
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def main() -> None:
    """Fill a database, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "screenshots")
    parser.add_argument("--keep", type=Path, help="leave the database in this folder")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    fixed_world(clock)
    os.chdir(REPOSITORY)
    try:
        store = Store.open(folder / "experiments.db")
        fill(store, clock)
        store.close()
        os.environ["ENGINE_DB"] = str(folder / "experiments.db")  # so that no command has to name it
        for name, (size, experiment, keys, ready) in PICTURES.items():
            picture = out / f"{name}.svg"
            picture.write_text(take(folder / "experiments.db", size, experiment, keys, ready), encoding="utf-8")
            print(picture)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
