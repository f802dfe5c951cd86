"""The loop that all kinds share: one attempt, from the first step to the exported artifact."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.errors import ExitCode, RunFailed
from engine.job import folders, runtime
from engine.job.journal import Journal
from engine.job.provenance import Origin, Provenance
from engine.job.runtime import Runtime, explained
from engine.job.stopping import StopRequest
from engine.spec.models import TrainedSpec
from engine.telemetry.records import Level
from engine.train.checkpoints import Checkpoint, Checkpoints, TrainState
from engine.train.evaluation import Evaluation
from engine.train.exhaustion import exhausted
from engine.train.health import Finding, HealthRules
from engine.train.learner import Learner
from engine.train.schedule import learning_rate
from engine.train.tokenizers import described
from engine.train.utilisation import Pass, utilisation_of

# Reads what a spec names, builds the networks, and returns what trains them. Called by all ranks together.
MakeTrainer = Callable[[TrainedSpec, Path, Runtime, Journal], "Trainer"]


def run(spec: TrainedSpec, run_dir: Path, attempt: int, make_trainer: MakeTrainer) -> int:
    """Train as the spec says, from the newest complete checkpoint of `run_dir` if there is one.

    All ranks call it, each in its own process; `environment.prepare` and
    `runtime.choose_accelerator` have been called.

    Returns:
        0 when all steps are done and the artifact is exported, 130 when it stopped before and a checkpoint is kept.

    Raises:
        PlumblineError: with one sentence on what went wrong.
    """
    stop = StopRequest()
    stop.listen()
    with Journal(run_dir, attempt, speaks=runtime.is_main_process()) as journal:
        try:
            journal.mark(0, "meet")
            ranks = runtime.start(spec.train.timeout_seconds)
            ranks = folders.learned(run_dir, ranks)
            if ranks.folders.are_several:
                places = " and ".join(map(str, ranks.folders.by_main().values()))
                journal.event("folders", f"The run directory is not shared: {places} keep their parts of checkpoints.")
            runtime.seed_everything(spec.seed)
            journal.mark(0, "build")
            return make_trainer(spec, run_dir, ranks, journal).train(stop)
        except BaseException as error:
            full = exhausted(error, journal.step)
            journal.failed(full or error)
            if full is not None:
                raise full from error
            raise


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step used and measured."""

    rows: int  # drawn from the stream
    tokens: int  # trained on
    samples: int  # rows or episodes trained on
    metrics: Mapping[str, float]  # the same on all ranks
    stops: bool  # the ranks agreed to stop after it
    passes: Sequence[Pass] = ()  # through its networks, of all ranks


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a kind keeps in a checkpoint besides its networks: plain values, and tensors (those of rank 0 count)."""

    values: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


class Trainer(ABC):
    """One attempt. A kind says what a step is; this says when to step, evaluate, keep, roll back and stop."""

    rows: int  # of the training data
    total_steps: int
    learners: Mapping[str, Learner]  # by name, all that a checkpoint holds
    tokenizer: Any

    def __init__(self, spec: TrainedSpec, run_dir: Path, ranks: Runtime, journal: Journal) -> None:
        self.spec, self.run_dir, self.ranks, self.journal = spec, run_dir, ranks, journal
        self.checkpoints = Checkpoints(run_dir / "checkpoints", ranks, keep=spec.train.keep_checkpoints)
        self._origin = Origin(spec, run_dir, journal.attempt) if ranks.is_main else None
        self.health = HealthRules(spec.train.health, kl_target=self.kl_target)
        self.state: TrainState

    @property
    def kl_target(self) -> float | None:
        """The divergence that the run aims at, nats per sequence, if its kind has one."""
        return None

    @abstractmethod
    def take_step(self, step: int, stop: StopRequest) -> StepOutcome:
        """Take one step on the next rows of the stream."""

    @abstractmethod
    def evaluate(self, step: int) -> tuple[Evaluation, int]:
        """Return what held-out rows show, and how many there were."""

    @abstractmethod
    def export(self) -> None:
        """Write the artifacts and tell of them."""

    def settle(self) -> dict[str, float]:
        """Return what is measured once, after the last step; it is kept in the checkpoint."""
        return {}

    def remember(self) -> Remembered:
        """Return what a checkpoint is to keep besides the networks. Called by all ranks together."""
        return Remembered()

    def recall(self, remembered: Remembered) -> Iterable[str]:
        """Go on with what a checkpoint kept; return a sentence on each thing that could not be taken over."""
        return ()

    def train(self, stop: StopRequest) -> int:
        """Take all steps that are left, export, and return the exit code."""
        train = self.spec.train
        self.state = self._fresh_state()
        self.journal.mark(0, "resume")
        # Each rank drops other units.
        runtime.seed_everything(self.spec.seed + self.ranks.rank)
        self._resume()
        self._utilisation = utilisation_of(self.spec, self.ranks, vocabulary=len(self.tokenizer))
        self.journal.started(self.state.step, self.total_steps)
        while self.state.step < self.total_steps:
            step = self.state.step + 1
            stopping, findings = self._step(step, stop)
            last = step == self.total_steps
            # Networks that are not finite have nothing to show.
            if not _not_finite(findings) and (last or (train.eval_every and step % train.eval_every == 0)):
                findings += self._evaluate(step)
            pausing, rolled_back = self._act_on(findings, step)
            if pausing and _not_finite(findings):
                # What is in the networks is worth nothing: the last checkpoint stays the newest.
                return self._stopped("paused", step, "by a health rule")
            if last:
                self.journal.mark(step, "settle")
                with explained("measuring what the export holds"):
                    self.state = replace(self.state, settled=self.settle())
            due = train.checkpoint_every and step % train.checkpoint_every == 0
            if last or stopping or pausing or rolled_back or due:
                self._checkpoint(step)
            if pausing and not last:
                return self._stopped("paused", step, "by a health rule")
            if stopping and not last:
                return self._stopped("stopped", step, f"by {stop.signal or 'another rank'}")
        self.journal.mark(self.state.step, "export")
        self.export()
        self.journal.event("finished", f"Finished: {self.total_steps} steps.", step=self.total_steps)
        return ExitCode.DONE

    def _stopped(self, event: str, step: int, why: str) -> int:
        self.journal.event(event, f"Stopped at step {step} {why}.", step=step)
        return ExitCode.INTERRUPTED

    def learning_rate(self, peak: float, step: int) -> float:
        """Return the learning rate of a step: by the schedule, lowered by each rollback."""
        scheduled = learning_rate(self.spec.train.schedule, peak, step, self.total_steps)
        return scheduled * self.spec.train.health.rollback_lr**self.state.rollbacks

    def require_finite(self, step: int, **values: float) -> None:
        """Raise RunFailed if a value is none, unless the health rules are to deal with it."""
        for name, value in values.items():
            if not math.isfinite(value) and self.spec.train.health.not_finite == "fail":
                self.journal.metrics(step, values)
                raise RunFailed(
                    f"{name} became {value} at step {step}.",
                    hint="Lower train.lr, lengthen the warm-up, or look for broken rows in the data.",
                )

    def provenance(self, kind: str, tokenizer: Any) -> Provenance | None:
        """Return what an artifact is to tell of where it comes from; None on ranks other than 0."""
        return None if self._origin is None else self._origin.of(kind, self.state.step, tokenizer=described(tokenizer))

    def _fresh_state(self) -> TrainState:
        train = self.spec.train
        return TrainState(
            step=0,
            rows_seen=0,
            tokens=0,
            rows=self.rows,
            seed=self.spec.seed,
            world_size=self.ranks.world_size,
            zero_stages={name: learner.train.zero_stage for name, learner in self.learners.items()},
            precision=train.precision,
        )

    def _engines(self) -> dict[str, Any]:
        return {name: learner.engine for name, learner in self.learners.items()}

    def _resume(self) -> None:
        found, problems = self.checkpoints.newest()
        for problem in problems:
            self.journal.event("warning", problem, level=Level.WARNING)
        if found is None:
            return
        fresh = self.state
        self.state = self._load(found)
        self.health.restore(self.state.health)
        if self.state.rows != fresh.rows:
            message = f"the training data has {fresh.rows} rows; the checkpoint was made with {self.state.rows}."
            self.journal.event("warning", message, level=Level.WARNING)
            self.state = replace(self.state, rows=fresh.rows)

    def _load(self, checkpoint: Checkpoint) -> TrainState:
        state, tensors = self.checkpoints.load(checkpoint, self._engines(), self.state)
        told = list(self.recall(Remembered(state.own, tensors)))
        if state.world_size != self.ranks.world_size:
            told.append(
                f"the checkpoint was saved by {state.world_size} ranks and goes on with {self.ranks.world_size}: "
                "weights, optimiser states and data are the same; sums are rounded in another order and dropout "
                "draws other numbers, so results agree nearly, not bit for bit."
            )
        for sentence in told:
            self.journal.event("warning", sentence, level=Level.WARNING)
        return replace(state, world_size=self.ranks.world_size)

    def _step(self, step: int, stop: StopRequest) -> tuple[bool, list[Finding]]:
        began = time.perf_counter()
        self.journal.mark(step, "data")
        with explained(f"training step {step}"):
            outcome = self.take_step(step, stop)
        state, train = self.state, self.spec.train
        self.state = replace(
            state, step=step, rows_seen=state.rows_seen + outcome.rows, tokens=state.tokens + outcome.tokens
        )
        seconds = time.perf_counter() - began
        if step % train.log_every == 0 or step == self.total_steps:
            self.journal.metrics(
                step,
                {
                    **outcome.metrics,
                    "tokens_per_second": outcome.tokens / seconds,
                    "samples_per_second": outcome.samples / seconds,
                    "seconds_per_step": seconds,
                    "tokens": self.state.tokens,
                    "epoch": self.state.rows_seen / self.rows,
                    "memory_bytes": self.ranks.memory_bytes(),
                    **self._used(outcome.passes, seconds),
                },
            )
        return outcome.stops, self.health.observe(step, outcome.metrics)

    def _used(self, passes: Sequence[Pass], seconds: float) -> dict[str, float]:
        share = None if self._utilisation is None else self._utilisation.share(passes, seconds)
        return {} if share is None else {"mfu": share}

    def _evaluate(self, step: int) -> list[Finding]:
        self.journal.mark(step, "evaluate")
        with explained(f"evaluating at step {step}"):
            evaluation, rows = self.evaluate(step)
        for sample in evaluation.samples:
            self.journal.sample(step, sample)
        if not rows:
            return []
        self.journal.metrics(step, evaluation.metrics)
        self.journal.event("evaluated", f"Evaluated {rows} rows at step {step}.", step=step)
        return self.health.observe(step, evaluation.metrics)

    def _act_on(self, findings: list[Finding], step: int) -> tuple[bool, bool]:
        """Tell of the findings and do what the spec says; return whether to pause, and whether it went back."""
        pausing = rolling = False
        since = step
        for finding in findings:
            level = Level.WARNING if finding.action == "warn" else Level.ERROR
            data = {"rule": finding.rule, "action": finding.action, "since": finding.since}
            self.journal.event("health", finding.message, level=level, step=step, **data)
            if finding.action == "fail":
                raise RunFailed(finding.message)
            pausing |= finding.action == "pause"
            rolling |= finding.action == "rollback"
            since = min(since, finding.since) if finding.action == "rollback" else since
        if rolling and not pausing:
            pausing = not self._roll_back(since, step)
        return pausing, rolling and not pausing

    def _roll_back(self, since: int, step: int) -> bool:
        """Go back to the networks from before `since`; steps, rows and random numbers go on. False if it cannot be."""
        most = self.spec.train.health.most_rollbacks
        if self.state.rollbacks >= most:
            message = f"Rolled back already as often as health.most_rollbacks allows ({most}), so the run pauses."
            self.journal.event("health", message, level=Level.ERROR, step=step)
            return False
        found = self._last_good(since)
        if found is None:
            message = f"There is no checkpoint from before step {since} to go back to, so the run pauses."
            self.journal.event("health", message, level=Level.ERROR, step=step)
            return False
        here, numbers = self.state, runtime.random_state()
        self._load(found)
        runtime.restore_random_state(numbers)
        self.state = replace(here, rollbacks=here.rollbacks + 1, rolled_back_at=step)
        self.health.forget(step)
        message = f"Rolled back to the networks of step {found.step}; the learning rate is lowered."
        self.journal.event("rolled_back", message, level=Level.WARNING, step=step, to_step=found.step)
        return True

    def _last_good(self, since: int) -> Checkpoint | None:
        """Return the checkpoint to go back to where evidence begins at `since`, if there is one."""
        # What was left behind by an earlier rollback is not gone back to.
        floor = self.state.rolled_back_at
        # A step measures the networks that the step before it made: those show the fault, and are the second choice.
        return self.checkpoints.before(since - 1, floor=floor) or self.checkpoints.before(since, floor=floor)

    def _checkpoint(self, step: int) -> None:
        self.journal.mark(step, "checkpoint")
        # What a resumed attempt will not measure again must be in the files before the checkpoint is.
        self.journal.flush()
        remembered = self.remember()
        self.state = replace(self.state, own=remembered.values, health=self.health.state())
        folder = self.checkpoints.save(self._engines(), self.state, remembered.tensors)
        path = str(folder.relative_to(self.run_dir))
        self.journal.event("checkpoint", f"Saved {path}.", step=step, path=path)


def _not_finite(findings: Sequence[Finding]) -> bool:
    return any(finding.rule == "not_finite" for finding in findings)
