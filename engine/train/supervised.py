"""Training on rows that are given: one optimiser step a step, for any objective."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.errors import InvalidInput
from engine.generate import models
from engine.job.journal import Journal
from engine.job.runtime import Runtime, explained
from engine.job.stopping import StopRequest
from engine.spec.models import TrainedSpec
from engine.train.batches import plan_parts
from engine.train.dataset import Stream
from engine.train.deepspeed_config import deepspeed_config
from engine.train.evaluation import Evaluation
from engine.train.export import export_model
from engine.train.learner import Learner
from engine.train.loop import StepOutcome, Trainer
from engine.train.objective import Objective
from engine.train.utilisation import MODEL, Pass


class SupervisedTrainer(Trainer):
    """Lowers the loss of an objective."""

    def __init__(
        self, spec: TrainedSpec, objective: Objective[Any], run_dir: Path, ranks: Runtime, journal: Journal
    ) -> None:
        super().__init__(spec, run_dir, ranks, journal)
        train = spec.train
        self.objective, self.tokenizer = objective, objective.tokenizer
        self.data: Stream[Any] = Stream(objective.rows, spec.seed, shuffled=objective.shuffled)
        self.rows = len(objective.rows)
        self.total_steps = train.steps or math.ceil(train.epochs * self.rows / train.batch_size)
        with explained("building the model"):
            # More than one micro-step, so that DeepSpeed adds gradients up; where the step ends the learner says.
            config = deepspeed_config(train, world_size=ranks.world_size, micro_steps=2)
            network = objective.build_network(config)
            _require_room(objective.longest, models.longest_sequence(network))
            self.learner = Learner(network, train, config, ranks)
        self.learners = {"model": self.learner}

    def take_step(self, step: int, stop: StopRequest) -> StepOutcome:
        """Take an optimiser step on the next global batch."""
        train, ranks, learner = self.spec.train, self.ranks, self.learner
        rows = self.data.batch(self.state.rows_seen, train.batch_size)
        weight = self.objective.weight(rows)
        lr = self.learning_rate(train.lr, step)
        learner.set_lr(lr)
        totals: dict[str, Tensor] = {}
        parts = plan_parts(
            rows,
            world_size=ranks.world_size,
            micro_batch_size=train.micro_batch_size,
            micro_batch_tokens=train.micro_batch_tokens,
            width=self.objective.width,
        )[ranks.rank]
        for index, part in enumerate(parts):
            self.journal.mark(step, "forward_backward")
            sums = self.objective.sums(learner.engine, part)
            for name, value in sums.items():
                totals[name] = totals.get(name, 0) + value.detach()
            learner.backward(sums["loss"] / weight, last=index == len(parts) - 1)
        self.journal.mark(step, "step")
        *summed, stops = ranks.sum(*map(float, totals.values()), stop.requested)
        means = {name: value / weight for name, value in zip(totals, summed, strict=True)}
        if train.precision != "fp16":  # which may overflow, and skips the step then
            self.require_finite(step, loss=means["loss"])
        norm = learner.step()
        if not learner.overflowed:
            self.require_finite(step, loss=means["loss"], grad_norm=norm)
        overflow = {"overflow": float(learner.overflowed)} if train.precision == "fp16" else {}
        return StepOutcome(
            rows=len(rows),
            tokens=sum(map(len, rows)),
            samples=len(rows),
            metrics={**means, "lr": lr, "grad_norm": norm, **overflow},
            stops=stops > 0,
            passes=[Pass(MODEL, [length for row in rows for length in self.objective.lengths(row)], trains=True)],
        )

    def evaluate(self, step: int) -> tuple[Evaluation, int]:
        """Return what the objective measures on held-out rows."""
        train, rows = self.spec.train, self.objective.eval_rows
        if train.eval_batches:
            rows = rows[: train.eval_batches * train.micro_batch_size]
        if not rows:
            return Evaluation({}), 0
        return self.objective.evaluate(self.learner.engine, rows), len(rows)

    def settle(self) -> dict[str, float]:
        """Return what the objective measures after the last step."""
        return self.objective.settle(self.learner.engine)

    def export(self) -> None:
        """Write the model to `export`."""
        folder = self.run_dir / "export"
        self.objective.describe_export(self.learner.network, self.state.settled)
        artifact = self.objective.artifact
        provenance = self.provenance(artifact, self.tokenizer)
        digest = export_model(self.learner.network, self.tokenizer, folder, self.ranks, provenance)
        self.journal.event(
            "artifact",
            "Exported the model to export.",
            step=self.state.step,
            kind=artifact,
            path=folder.name,
            sha256=digest,
        )


def _require_room(longest: int, positions: int | None) -> None:
    if positions is not None and longest > positions:
        raise InvalidInput(
            f"the longest row has {longest} tokens and the model has {positions} positions.",
            hint="Lower data.max_length or raise model.architecture.max_positions.",
        )
