"""What a rank tells of a run: to its agent where it is; rank 0 also facts to their files, a line a step to us."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from engine.errors import PlumblineError
from engine.job.runtime import first_line
from engine.telemetry.progress import ProgressMark
from engine.telemetry.records import Level
from engine.telemetry.writer import TelemetryWriter


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer to an evaluation prompt: what is kept of it."""

    prompt: str
    response: str
    reference: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


class Journal:
    """The telemetry of one attempt. On ranks other than 0 it only marks where they are."""

    def __init__(self, run_dir: Path, attempt: int, *, speaks: bool, unit: str = "step") -> None:
        """unit: what a step is, one word: a step, a chunk, a question."""
        self.attempt, self._unit = attempt, unit
        self._writer = TelemetryWriter(run_dir, attempt) if speaks else None
        self._progress = ProgressMark.of_environment()
        self._total_steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.close()
        if self._writer is not None:
            self._writer.close()

    @property
    def step(self) -> int:
        """The step that was marked last; 0 before the first."""
        return self._progress.step

    def mark(self, step: int, phase: str) -> None:
        """A phase of a step begins on this rank. It costs microseconds: an agent tells slow ranks from frozen ones."""
        self._progress.mark(step, phase)

    def flush(self) -> None:
        """Wait until all facts are in their files."""
        if self._writer is not None:
            self._writer.flush()

    def started(self, resumed_step: int, total_steps: int) -> None:
        """The first step is about to be taken; steps up to `resumed_step` were taken by earlier attempts."""
        self._total_steps = total_steps
        if self._writer is None:
            return
        self._writer.start(resumed_step, total_steps)
        if resumed_step:
            self.event("resumed", f"Resumed from {self._unit} {resumed_step} of {total_steps}.", step=resumed_step)
        else:
            self.event("started", f"Started: {total_steps} {self._unit}s.", step=0)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """What was measured at a step."""
        if self._writer is None:
            return
        self._writer.metrics(step, metrics)
        told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name in _TOLD)
        self._say(f"{self._unit} {step}/{self._total_steps}  {told}")

    def sample(self, step: int, sample: Sample) -> None:
        """A text that the model wrote, or judged."""
        if self._writer is not None:
            self._writer.sample(step, sample.prompt, sample.response, sample.reference, sample.scores)

    def event(
        self, event: str, message: str, *, level: Level = Level.INFO, step: int | None = None, **data: Any
    ) -> None:
        """Something that happened."""
        if self._writer is not None:
            self._writer.event(event, message, level, step, **data)
            self._say(message if level is Level.INFO else f"{level}: {message}")

    def failed(self, error: BaseException) -> None:
        """The run ends by an error, which the caller tells to people."""
        if self._writer is not None:
            message = str(error) if isinstance(error, PlumblineError) else first_line(error)
            details = "".join(traceback.format_exception(error))
            self._writer.event("failed", message, Level.ERROR, None, traceback=details)

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


_TOLD = frozenset(
    {
        "loss",
        "eval_loss",
        "accuracy",
        "eval_accuracy",
        "score",
        "eval_score",
        "kl",
        "correct",
        "abstained",
        "hallucinated",
        "lr",
        "grad_norm",
        "tokens_per_second",
        "chunks_per_second",
    }
)
