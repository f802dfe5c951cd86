"""Supervised fine-tuning: next-token prediction on the tokens that carry loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.generate.sampling import takes_logits_to_keep
from engine.job.journal import Journal
from engine.job.runtime import Runtime, explained
from engine.spec.models import SftSpec
from engine.train import models
from engine.train.batches import Row, collate
from engine.train.dataset import load_dataset
from engine.train.evaluation import Evaluation, answers, mean_sums
from engine.train.loss import summed_loss
from engine.train.objective import Objective
from engine.train.supervised import SupervisedTrainer


class SftObjective(Objective[Row]):
    """The mean negative log-likelihood of a token."""

    def __init__(self, spec: SftSpec, run_dir: Path, ranks: Runtime) -> None:
        self.spec, self.ranks = spec, ranks
        data = load_dataset(spec, run_dir, ranks)
        self.tokenizer, self.questions = data.tokenizer, data.questions
        self.rows, self.eval_rows = data.rows, data.eval_rows
        self.longest = max(map(len, self.rows))
        self.shuffled = spec.data.order == "shuffled"
        self.keep_logits = False

    def build_network(self, zero_config: dict[str, Any]) -> nn.Module:
        """Return the causal language model."""
        spec = self.spec
        network = models.build_model(spec.model, self.tokenizer, spec.train, seed=spec.seed, zero_config=zero_config)
        self.keep_logits = takes_logits_to_keep(network)
        return network

    def lengths(self, row: Row) -> Sequence[int]:
        """Return the tokens of each example of a row."""
        return row.lengths

    def weight(self, rows: Sequence[Row]) -> float:
        """Return the number of tokens that carry loss."""
        return max(1, sum(row.loss_tokens for row in rows))

    def sums(self, engine: Any, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Return the summed loss, nats."""
        batch = collate(rows, self.tokenizer.pad_token_id, self.ranks.device)
        return {"loss": summed_loss(engine, batch, keep_logits=self.keep_logits)}

    def evaluate(self, engine: Any, rows: Sequence[Row]) -> Evaluation:
        """Return loss and perplexity on held-out rows, and greedy answers to the first questions."""
        train = self.spec.train
        loss = mean_sums(self, engine, rows, self.ranks, micro_batch_size=train.micro_batch_size)["loss"]
        written = answers(engine, self.questions, self.tokenizer, self.ranks, tokens=train.sample_tokens)
        return Evaluation(metrics={"eval_loss": loss, "eval_perplexity": math.exp(min(loss, 700.0))}, samples=written)


def trainer(spec: SftSpec, run_dir: Path, ranks: Runtime, journal: Journal) -> SupervisedTrainer:
    """Read the data and build the model. Raises InvalidInput if they are broken."""
    with explained("reading the data"):
        objective = SftObjective(spec, run_dir, ranks)
    return SupervisedTrainer(spec, objective, run_dir, ranks, journal)
