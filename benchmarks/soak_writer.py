"""Write eight runs into a database as a dispatcher would, many times as fast: what `soak.py` lets `plumbline` watch.

    python benchmarks/soak_writer.py FOLDER [--steps 100000] [--metrics 12] [--seconds 300]

Metrics, log lines, events, samples, checkpoints, restarts, what nodes and ranks say. The runs take a day: a step has
a time 0.864 s after the one before, the last one now. Prints how many tenths are written, a line each.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.store.facts import Piece
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
from tui.showcase import machines
from tui.showcase.courses import Course, FineTuning, Policy, Preferences
from tui.showcase.history import HOSTFILE, SLOTS, Attempt, Clock, History

DATABASE = "experiments.db"
RUNS = 8
DAY = 86_400.0  # seconds
TICK = 0.1  # seconds between two transactions, as the dispatcher has
HEARD_EVERY = 1.0  # seconds between beats of the nodes
SAVED = 200  # checkpoints of a run
SAMPLED = 100  # times that a run writes samples
PROMPTS = 8
_NOTE = "1937, by the Board of Trade [1]; the opening day was for people on foot, as the passage says."


@dataclass(slots=True)
class Replayed:
    """One run on its way."""

    attempt: Attempt
    names: list[str]
    offsets: dict[str, int]
    log: Path
    restarts: list[int]  # steps at which an attempt is lost, ascending


class Replay:
    """The database and what is written into it."""

    def __init__(self, folder: Path, steps: int, metrics: int) -> None:
        self.steps = steps
        self.store = Store.open(folder / DATABASE)
        self.noise = np.random.default_rng(7)
        self.history = History(self.store, Clock(time.time()))
        self._began = time.time() - DAY
        self._seconds = DAY / steps
        courses: list[tuple[str, Course]] = [
            *[("ppo", Policy(steps, 2.0 + run / 4, 3.0 + run, 1e-6, 0.1)) for run in range(4)],
            *[("sft", FineTuning(steps, 1.0, 0.2, 1e-5)) for _ in range(2)],
            *[("rm", Preferences(steps, 0.9, 8e-6)) for _ in range(2)],
        ]
        for number, (kind, _) in enumerate(courses):
            spec = json.dumps(_spec(kind, f"{kind}-soak-{number}", steps))
            experiments.create(self.store, parse_spec(spec), hostfile="eight-nodes", hostfile_text=HOSTFILE)
        waits = experiments.create(
            self.store, parse_spec(json.dumps(_spec("sft", "waits", steps))), hostfile_text=HOSTFILE
        )
        experiments.set_state(self.store, waits, State.QUEUED, reason="waits for its turn")
        experiments.create(self.store, parse_spec(json.dumps(_RAG)), hostfile_text=HOSTFILE)
        listed = [each for each in experiments.list_experiments(self.store) if "-soak-" in each.name]
        ids = [each.id for each in sorted(listed, key=lambda each: int(each.name.rpartition("-")[2]))]
        self.runs = []
        for number, (identity, (_, course)) in enumerate(zip(ids, courses, strict=True)):
            first = list(course.metrics(1, self.noise))
            names = [*first, *(f"terms/part_{extra}" for extra in range(len(first), metrics))][: max(metrics, 10)]
            log = self.store.runs_dir / identity / "attempt-1" / "node-0" / "rank-0.log"
            restarts = [round(steps * share) + 13 * number for share in (0.34, 0.67)]
            attempt = Attempt(identity, 0, course, (f"n{number}",), 0)
            self.runs.append(Replayed(attempt, names, {}, log, restarts))
            self._begin(self.runs[-1], 0)

    def advance(self, to: int) -> None:
        """Take all runs to this step, in one transaction."""
        pieces: list[Piece] = []
        for run in self.runs:
            end = to
            if run.restarts and run.attempt.step < run.restarts[0] <= to:
                end = run.restarts[0]
            pieces += self._steps(run, end)
        assert all(facts.ingest_all(self.store, pieces))
        for run in self.runs:
            if run.restarts and run.attempt.step >= run.restarts[0]:
                self._restart(run)

    def hear(self) -> None:
        """Let all nodes and ranks say how they stand."""
        self.history.clock.now = time.time()
        machines.hear(self.history, [run.attempt for run in self.runs], sample=True)

    def end(self) -> None:
        """Let all runs end."""
        for run in self.runs:
            attempts.transition(self.store, run.attempt.identity, run.attempt.number, State.SUCCEEDED, exit_code=0)
        self.store.close()

    def _restart(self, run: Replayed) -> None:
        step = run.restarts.pop(0)
        identity, number = run.attempt.identity, run.attempt.number
        attempts.transition(self.store, identity, number, State.LOST, reason="n2 was not heard for 600 s", exit_code=5)
        experiments.resume(self.store, identity)
        every = max(1, self.steps // SAVED)
        self._begin(run, step // every * every)

    def _begin(self, run: Replayed, resumed: int) -> None:
        identity = run.attempt.identity
        seats = [{"host": run.attempt.hosts[0], "index": 0, "slots": SLOTS, "first_rank": 0}]
        number = attempts.begin(self.store, identity, run_dir=f"/data/{identity}", placement=seats).number
        for state in (State.STARTING, State.RUNNING):
            attempts.transition(self.store, identity, number, state)
        run.attempt.number, run.attempt.step = number, resumed
        run.log = self.store.runs_dir / identity / f"attempt-{number}" / "node-0" / "rank-0.log"
        run.log.parent.mkdir(parents=True, exist_ok=True)
        start = self._piece(run, METRICS_FILE, [StartRecord(self._time(resumed), number, resumed, self.steps)])
        assert all(facts.ingest_all(self.store, start))

    def _steps(self, run: Replayed, to: int) -> list[Piece]:
        attempt, names = run.attempt, run.names
        steps = range(attempt.step + 1, to + 1)
        if not steps:
            return []
        usual = attempt.course.metrics(to, self.noise)
        centre = np.array([usual.get(name, 1.0 + place / 10) for place, name in enumerate(names)])
        values = centre * (1 + self.noise.normal(0, 0.05, (len(steps), len(names))))
        if "tokens" in names:
            values[:, names.index("tokens")] = np.array(steps) * 65_536.0
        metrics: list[Record] = []
        events: list[Record] = []
        samples: list[Record] = []
        lines = []
        saved, sampled = max(1, self.steps // SAVED), max(1, self.steps // SAMPLED)
        for step, row in zip(steps, values.tolist(), strict=True):
            at = self._time(step)
            metrics.append(MetricsRecord(at, attempt.number, step, dict(zip(names, row, strict=True))))
            told = "  ".join(f"{name} {value:.4g}" for name, value in zip(names[:4], row[:4], strict=True))
            lines.append(f"step {step}/{self.steps}  {told}\n")
            if step % saved == 0:
                message = f"checkpoint of step {step} is complete"
                events.append(EventRecord(at, attempt.number, "checkpoint", message, step=step))
            if step % sampled == 0:
                held_out = attempt.course.evaluation(step, self.noise)
                metrics.append(MetricsRecord(at, attempt.number, step, held_out))
                lines.append(f"WARNING: {attempt.identity} waited 2.1 s for its data at step {step}\n")
                message = f"n2: its steps take {1 + row[0] % 1:.1f} times the median."
                events.append(EventRecord(at, attempt.number, "slow_rank", message, Level.WARNING, step))
                samples += [
                    SampleRecord(
                        at,
                        attempt.number,
                        step,
                        f"When was bridge {prompt} opened, and by whom?",
                        f"It opened in {_NOTE}",
                    )
                    for prompt in range(PROMPTS)
                ]
        attempt.step = to
        with run.log.open("a", encoding="utf-8") as file:
            file.writelines(lines)
        files = ((METRICS_FILE, metrics), (EVENTS_FILE, events), (SAMPLES_FILE, samples))
        return [piece for name, records in files if records for piece in self._piece(run, name, records)]

    def _piece(self, run: Replayed, name: str, records: list[Record]) -> list[Piece]:
        before = run.offsets.get(name, 0)
        run.offsets[name] = before + len(records)
        return [Piece(run.attempt.identity, name, Chunk(records, run.offsets[name], (), False), before)]

    def _time(self, step: int) -> float:
        return self._began + step * self._seconds


_TRAIN = {"batch_size": 256, "eval_every": 50, "checkpoint_every": 125}
_RAG = {
    "kind": "rag", "name": "wiki", "corpus": {"path": "data/wiki"}, "embedder": {"path": "models/e5"},
    "questions": "data/questions.jsonl",
}  # fmt: skip


def _spec(kind: str, name: str, steps: int) -> dict[str, object]:
    spec: dict[str, object] = {
        "kind": kind, "name": name, "model": {"path": "models/llama-2-13b"}, "data": {"train": "data/faithdial.jsonl"},
        "train": _TRAIN | {"steps": steps},
    }  # fmt: skip
    if kind == "ppo":
        spec |= {"rewards": {"faithful": {"path": "/data/rm/export"}}, "ppo": {"kl_target": 6.0}}
    return spec


def main() -> None:
    """Write, at an even pace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--metrics", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=300.0)
    options = parser.parse_args()
    replay = Replay(options.folder, options.steps, options.metrics)
    print(0, flush=True)
    began, heard, tenth, at = time.monotonic(), 0.0, 0, 0
    while at < options.steps:
        due = round(options.steps * (time.monotonic() - began) / options.seconds)
        at = min(options.steps, due, at + options.steps // 100)
        replay.advance(at)
        if time.monotonic() - heard > HEARD_EVERY:
            heard = time.monotonic()
            replay.hear()
        if at * 10 // options.steps > tenth:
            tenth = at * 10 // options.steps
            print(tenth, flush=True)
        time.sleep(TICK)
    while any(run.attempt.step < options.steps for run in replay.runs):
        replay.advance(options.steps)
    replay.end()
    print("done", flush=True)


if __name__ == "__main__":
    main()
