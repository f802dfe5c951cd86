"""The loop that all kinds share: one attempt, from the data to the exported model, for any objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import ExitCode, InvalidInput, RunFailed
from engine.spec.models import TrainedSpec
from engine.telemetry.records import Level
from engine.train import models, runtime
from engine.train.batches import micro_steps, share
from engine.train.checkpoints import Checkpoints, TrainState
from engine.train.dataset import Stream
from engine.train.deepspeed_config import deepspeed_config
from engine.train.export import export_model
from engine.train.journal import Journal
from engine.train.objective import Objective
from engine.train.runtime import Runtime, explained
from engine.train.schedule import learning_rate
from engine.train.stopping import StopRequest

# Reads the data of a spec and returns what the loop trains for. Called by all ranks together.
MakeObjective = Callable[[TrainedSpec, Path, Runtime], Objective[Any]]


def run(spec: TrainedSpec, run_dir: Path, attempt: int, make_objective: MakeObjective) -> int:
    """Train as the spec says, from the newest complete checkpoint of `run_dir` if there is one.

    All ranks call it, each in its own process; `environment.prepare` and
    `runtime.choose_accelerator` have been called.

    Returns:
        0 when all steps are done and the model is exported, 130 when a signal asked to stop and a checkpoint is kept.

    Raises:
        PlumblineError: with one sentence on what went wrong.
    """
    stop = StopRequest()
    stop.listen()
    with Journal(run_dir, attempt, speaks=runtime.is_main_process()) as journal:
        try:
            ranks = runtime.start(spec.train.timeout_seconds)
            runtime.require_shared(run_dir, ranks)
            runtime.seed_everything(spec.seed)
            with explained("reading the data"):
                objective = make_objective(spec, run_dir, ranks)
            return Trainer(spec, objective, run_dir, ranks, journal).train(stop)
        except BaseException as error:
            journal.failed(error)
            raise


class Trainer:
    """One attempt: DeepSpeed engine and the loop over optimiser steps."""

    def __init__(
        self, spec: TrainedSpec, objective: Objective[Any], run_dir: Path, ranks: Runtime, journal: Journal
    ) -> None:
        train = spec.train
        self.spec, self.objective, self.run_dir, self.ranks, self.journal = spec, objective, run_dir, ranks, journal
        self.data: Stream[Any] = Stream(objective.rows, spec.seed)
        self.total_steps = train.steps or math.ceil(train.epochs * len(self.data.rows) / train.batch_size)
        self.parts = micro_steps(train.batch_size, world_size=ranks.world_size, micro_batch_size=train.micro_batch_size)
        with explained("building the model"):
            self.engine = self._build_engine()
        self.checkpoints = Checkpoints(run_dir / "checkpoints", keep=train.keep_checkpoints)
        self.state = TrainState(
            step=0,
            rows_seen=0,
            tokens=0,
            rows=len(self.data.rows),
            seed=spec.seed,
            world_size=ranks.world_size,
            zero_stage=train.zero_stage,
            precision=train.precision,
        )

    def train(self, stop: StopRequest) -> int:
        """Take all steps that are left, export the model, and return the exit code."""
        train = self.spec.train
        # Each rank drops other units.
        runtime.seed_everything(self.spec.seed + self.ranks.rank)
        self._resume()
        self.journal.started(self.state.step, self.total_steps)
        while self.state.step < self.total_steps:
            step = self.state.step + 1
            with explained(f"training step {step}"):
                stopping = self._optimiser_step(step, stop)
            last = step == self.total_steps
            if last or (train.eval_every and step % train.eval_every == 0):
                self._evaluate(step)
            if last:
                with explained("measuring what the export holds"):
                    self.state = replace(self.state, settled=self.objective.settle(self.engine))
            if last or stopping or (train.checkpoint_every and step % train.checkpoint_every == 0):
                self._checkpoint(step)
            if stopping and not last:
                self.journal.event("stopped", f"Stopped at step {step} by {stop.signal or 'another rank'}.", step=step)
                return ExitCode.INTERRUPTED
        self._export()
        self.journal.event("finished", f"Finished: {self.total_steps} steps.", step=self.total_steps)
        return ExitCode.DONE

    def _build_engine(self) -> Any:
        import deepspeed

        train, optimizer = self.spec.train, self.spec.train.optimizer
        config = deepspeed_config(train, world_size=self.ranks.world_size, micro_steps=self.parts)
        network = self.objective.build_network(config)
        self._require_room(models.longest_sequence(network))
        adamw = torch.optim.AdamW(
            models.parameter_groups(network, optimizer.weight_decay),
            lr=0.0,  # set at each step
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
        )
        engine, *_ = deepspeed.initialize(model=network, optimizer=adamw, config=config, dist_init_required=False)
        if train.precision == "bf16" and train.zero_stage == 0:
            # DeepSpeed took a step with empty gradients to allocate the moments: Adam would correct its bias one step
            # too late. Moments that are not there yet are made at the first real step.
            engine.basic_optimizer.state.clear()
        engine.train()
        return engine

    def _require_room(self, positions: int | None) -> None:
        longest = self.objective.longest
        if positions is not None and longest > positions:
            raise InvalidInput(
                f"the longest row has {longest} tokens and the model has {positions} positions.",
                hint="Lower data.max_length or raise model.architecture.max_positions.",
            )

    def _resume(self) -> None:
        found, problems = self.ranks.from_main(self.checkpoints.newest() if self.ranks.is_main else None)
        for problem in problems:
            self.journal.event("warning", problem, level=Level.WARNING)
        if found is None:
            return
        fresh = self.state
        self.state = self.checkpoints.load(found, self.engine, fresh, self.ranks)
        if self.state.rows != fresh.rows:
            message = f"the training data has {fresh.rows} rows; the checkpoint was made with {self.state.rows}."
            self.journal.event("warning", message, level=Level.WARNING)
            self.state = replace(self.state, rows=fresh.rows)

    def _optimiser_step(self, step: int, stop: StopRequest) -> bool:
        """Take one step on one global batch; return whether the ranks agreed to stop after it."""
        began = time.perf_counter()
        train, ranks, engine = self.spec.train, self.ranks, self.engine
        rows = self.data.batch(self.state.rows_seen, train.batch_size)
        weight = self.objective.weight(rows)
        lr = learning_rate(train.schedule, train.lr, step, self.total_steps)
        for group in engine.optimizer.param_groups:
            group["lr"] = lr

        totals: dict[str, Tensor] = {}
        parts = share(rows, rank=ranks.rank, world_size=ranks.world_size, parts=self.parts)
        for index, part in enumerate(parts):
            sums = self.objective.sums(engine, part)
            for name, value in sums.items():
                totals[name] = totals.get(name, 0) + value.detach()
            # DeepSpeed averages gradients over the ranks; a mean over tokens or pairs needs their sum.
            engine.backward(sums["loss"] * (ranks.world_size / weight), scale_wrt_gas=False)
            if index < len(parts) - 1:
                engine.step()
        *summed, stops = ranks.sum(*map(float, totals.values()), stop.requested)
        means = {name: value / weight for name, value in zip(totals, summed, strict=True)}
        self._require_finite(step, loss=means["loss"])
        norm = self._unclipped_norm()
        engine.step()
        norm = float(engine.get_global_grad_norm()) if norm is None else norm
        self._require_finite(step, loss=means["loss"], grad_norm=norm)

        tokens = sum(map(len, rows))
        rows_seen = self.state.rows_seen + len(rows)
        self.state = replace(self.state, step=step, rows_seen=rows_seen, tokens=self.state.tokens + tokens)
        seconds = time.perf_counter() - began
        self.journal.pulse(step, "train")
        if step % train.log_every == 0 or step == self.total_steps:
            self.journal.metrics(
                step,
                {
                    **means,
                    "lr": lr,
                    "grad_norm": norm,
                    "tokens_per_second": tokens / seconds,
                    "samples_per_second": len(rows) / seconds,
                    "seconds_per_step": seconds,
                    "tokens": self.state.tokens,
                    "epoch": rows_seen / len(self.data.rows),
                    "memory_bytes": ranks.memory_bytes(),
                },
            )
        return stops > 0

    def _unclipped_norm(self) -> float | None:
        """Return the gradient norm where DeepSpeed keeps none: in fp32 without ZeRO. Reduced gradients are in place."""
        if self.spec.train.zero_stage > 0 or self.spec.train.precision == "bf16":
            return None
        gradients = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _require_finite(self, step: int, **values: float) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                self.journal.metrics(step, values)
                raise RunFailed(
                    f"{name} became {value} at step {step}.",
                    hint="Lower train.lr, lengthen the warm-up, or look for broken rows in the data.",
                )

    def _evaluate(self, step: int) -> None:
        train, rows = self.spec.train, self.objective.eval_rows
        if train.eval_batches:
            rows = rows[: train.eval_batches * train.micro_batch_size]
        if not rows:
            return
        self.journal.pulse(step, "evaluate")
        with explained(f"evaluating at step {step}"):
            evaluation = self.objective.evaluate(self.engine, rows)
        self.journal.metrics(step, evaluation.metrics)
        for sample in evaluation.samples:
            self.journal.sample(step, sample)
        self.journal.event("evaluated", f"Evaluated {len(rows)} rows at step {step}.", step=step)

    def _checkpoint(self, step: int) -> None:
        self.journal.pulse(step, "checkpoint")
        # What a resumed attempt will not measure again must be in the files before the checkpoint is.
        self.journal.flush()
        folder = self.checkpoints.save(self.engine, self.state, self.ranks)
        path = str(folder.relative_to(self.run_dir))
        self.journal.event("checkpoint", f"Saved {path}.", step=step, path=path)

    def _export(self) -> None:
        folder = self.run_dir / "export"
        self.objective.describe_export(self.engine.module, self.state.settled)
        digest = export_model(self.engine, self.objective.tokenizer, folder, self.ranks)
        self.journal.event(
            "artifact",
            "Exported the model to export.",
            step=self.state.step,
            kind=self.objective.artifact,
            path=folder.name,
            sha256=digest,
        )
