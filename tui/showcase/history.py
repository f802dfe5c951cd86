"""Writes what the dispatcher and the nodes of generated runs would have written, by a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.store.inputs import Input
from engine.telemetry.reader import Chunk
from engine.telemetry.records import (
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
from engine.telemetry.states import State
from tui.showcase.courses import Course

SLOTS = 8  # of each node
HOSTFILE = "".join(f"n{node} slots={SLOTS}\n" for node in range(8))
Answers = Callable[[int], Sequence[tuple[str, str, str]]]  # of a step: prompts, responses, references


@dataclass(slots=True)
class Clock:
    """The time of what is written. The one who writes puts it in the place of `time.time`."""

    now: float  # seconds since the epoch

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Attempt:
    """One attempt that is written."""

    identity: str
    number: int
    course: Course
    hosts: tuple[str, ...]
    step: int


@dataclass(slots=True)
class History:
    """A database that is filled with a believable past."""

    store: Store
    clock: Clock
    noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    _offsets: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, spec: Mapping[str, Any], *, taken: Mapping[str, str] | None = None, **how: Any) -> str:
        """Queue an experiment. taken: kinds of artifacts by the experiment that made them."""
        import json

        inputs = [
            Input(f"{maker}.{kind}", f"/data/plumbline/{maker}/export", maker, kind, None, None)
            for maker, kind in (taken or {}).items()
        ]
        where = {"hostfile": "hostfiles/eight-nodes", "hostfile_text": HOSTFILE}
        return experiments.create(self.store, parse_spec(json.dumps(spec)), inputs=inputs, **(where | how))

    def begin(self, identity: str, course: Course, hosts: Sequence[str], *, resumed: int = 0) -> Attempt:
        """Let the next attempt run."""
        placement = [
            {"host": host, "index": index, "slots": SLOTS, "first_rank": SLOTS * index}
            for index, host in enumerate(hosts)
        ]
        begun = attempts.begin(self.store, identity, run_dir=f"/data/plumbline/{identity}", placement=placement)
        for state in (State.STARTING, State.RUNNING):
            self.clock.now += 12
            attempts.transition(self.store, identity, begun.number, state)
        attempt = Attempt(identity, begun.number, course, tuple(hosts), resumed)
        self._ingest(identity, METRICS_FILE, [StartRecord(self.clock.now, begun.number, resumed, course.steps)])
        message = f"Resumed from step {resumed} of {course.steps}." if resumed else f"Started: {course.steps} steps."
        self.tell(attempt, "resumed" if resumed else "started", message, step=resumed)
        return attempt

    def train(self, attempt: Attempt, last: int, answers: Answers | None = None, *, stride: int = 1) -> None:
        """Take the steps until `last`, with a point every `stride` of them."""
        course, metrics, samples, log = attempt.course, list[Record](), list[Record](), list[str]()
        steps = range(attempt.step + stride, last + 1, stride)
        for step in steps:
            values = course.metrics(step, self.noise)
            self.clock.now += values["seconds_per_step"] * stride
            metrics.append(MetricsRecord(self.clock.now, attempt.number, step, values))
            told = "  ".join(f"{name} {values[name]:.4g}" for name in list(values)[:4])
            log.append(f"step {step}/{course.steps}  {told}")
            if course.every and step % course.every == 0:
                held_out = course.evaluation(step, self.noise)
                metrics.append(MetricsRecord(self.clock.now, attempt.number, step, held_out))
                log.append(
                    f"Evaluated 512 rows at step {step}: " + "  ".join(f"{k} {v:.4g}" for k, v in held_out.items())
                )
                self.tell(attempt, "evaluated", f"Evaluated 512 rows at step {step}.", step=step)
                samples += [
                    SampleRecord(self.clock.now, attempt.number, step, prompt, response, reference)
                    for prompt, response, reference in (answers(step) if answers else ())
                ]
            if course.every and step % (course.every * 5 // 2) == 0:
                self.tell(attempt, "checkpoint", f"Saved checkpoints/step-{step:08d}.", step=step)
                log.append(f"Saved checkpoints/step-{step:08d}.")
        attempt.step = steps[-1] if steps else attempt.step
        self._ingest(attempt.identity, METRICS_FILE, metrics)
        self._ingest(attempt.identity, SAMPLES_FILE, samples)
        self.log(attempt, log)

    def measure(self, attempt: Attempt, step: int, values: Mapping[str, float]) -> None:
        """Log figures of a step."""
        self._ingest(attempt.identity, METRICS_FILE, [MetricsRecord(self.clock.now, attempt.number, step, values)])
        attempt.step = step

    def tell(
        self, attempt: Attempt, name: str, message: str, *, step: int | None, level: Level = Level.INFO, **data: Any
    ) -> None:
        """Log an event."""
        record = EventRecord(self.clock.now, attempt.number, name, message, level, step, data)
        self._ingest(attempt.identity, EVENTS_FILE, [record])

    def end(self, attempt: Attempt, state: State, reason: str | None = None, code: int = 0) -> None:
        """Let it end."""
        attempts.transition(self.store, attempt.identity, attempt.number, state, reason=reason, exit_code=code)

    def log(self, attempt: Attempt, lines: Sequence[str]) -> None:
        """Append to the log of the first rank; others say little."""
        for node in range(min(2, len(attempt.hosts))):
            folder = self.store.runs_dir / attempt.identity / f"attempt-{attempt.number}" / f"node-{node}"
            begins = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            for rank in (0, 1) if node == 0 else (SLOTS,):
                own = lines if rank == 0 else ["NCCL is ready."] if begins else []
                with (folder / f"rank-{rank}.log").open("a", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for line in own)

    def _ingest(self, identity: str, file: str, records: Sequence[Record]) -> None:
        if records:
            before = self._offsets.get((identity, file), 0)
            chunk = Chunk(list(records), before + len(records), (), False)
            assert facts.ingest(self.store, identity, file, chunk, before)
            self._offsets[identity, file] = chunk.offset
