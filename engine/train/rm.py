"""The reward model: a scalar head on a causal language model learns which of two answers is better.

The exported folder loads in transformers' `AutoModelForSequenceClassification`; its one logit is the raw score. Its
config holds `reward_mean` and `reward_std`, measured on the scores of held-out chosen answers, 0 and 1 without
`normalise`: the normalised score is (logit − reward_mean) / reward_std. They stay beside the head because the heads of
transformers' causal models have no bias to fold the mean into.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.data.pairs import TokenisedPair, load_pairs
from engine.data.preferences import Preference
from engine.errors import InvalidInput
from engine.job.journal import Journal, Sample
from engine.job.runtime import Runtime, explained
from engine.rl.moments import Moments
from engine.rl.preference import (
    PairwiseLoss,
    bradley_terry_correct,
    expected_calibration_error,
    pairwise_loss,
    preference_calibration,
)
from engine.spec.models import RmSpec
from engine.train import models
from engine.train.dataset import load_tokenizer
from engine.train.evaluation import Evaluation, evaluating
from engine.train.objective import Objective
from engine.train.scoring import packed, packed_scores_of, padded, score_every_position, score_shares, scores_of
from engine.train.supervised import SupervisedTrainer

# The most reference answers that mean and deviation of the scores are measured on.
REFERENCES = 1024
# The most groups whose accuracy is logged: the largest ones.
GROUPS = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sequences, int32 [length], each with the end-of-sequence token at its end."""

    chosen: Tensor
    rejected: Tensor
    preference: Preference

    @classmethod
    def of(cls, pair: TokenisedPair) -> Pair:
        """Return the pair as tensors."""
        chosen, rejected = (torch.tensor(ids, dtype=torch.int32) for ids in (pair.chosen, pair.rejected))
        return cls(chosen, rejected, pair.preference)

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)


class RmObjective(Objective[Pair]):
    """The negative log-likelihood of the better answer in the Bradley-Terry model."""

    artifact = "reward_model"

    def __init__(self, spec: RmSpec, run_dir: Path, ranks: Runtime) -> None:
        self.spec, self.ranks = spec, ranks
        self.tokenizer = load_tokenizer(spec, run_dir, ranks)
        models.require_scoring_pad(self.tokenizer)
        self.rows = [Pair.of(pair) for pair in load_pairs(spec.data, self.tokenizer, "train")]
        self.eval_rows = [Pair.of(pair) for pair in load_pairs(spec.data, self.tokenizer, "eval")]
        if not self.rows:
            raise InvalidInput("there is no pair to train on.", where=spec.data.train)
        self.longest = max(max(len(pair.chosen), len(pair.rejected)) for pair in (*self.rows, *self.eval_rows))

    def build_network(self, zero_config: dict[str, Any]) -> nn.Module:
        """Return the causal model with a scalar head in place of its output embeddings."""
        spec = self.spec
        network = models.build_reward_model(
            spec.model, self.tokenizer, spec.train, seed=spec.seed, zero_config=zero_config
        )
        if spec.data.packing:
            score_every_position(network)
        return network

    def width(self, row: Pair) -> int:
        """Return the tokens of two rows as long as the longer answer; packed they take no more."""
        return 2 * max(len(row.chosen), len(row.rejected))

    def lengths(self, row: Pair) -> Sequence[int]:
        """Return the tokens of both answers."""
        return len(row.chosen), len(row.rejected)

    def weight(self, rows: Sequence[Pair]) -> float:
        """Return the number of pairs."""
        return len(rows)

    def sums(self, engine: Any, rows: Sequence[Pair]) -> dict[str, Tensor]:
        """Return summed loss in nats, correct pairs, and summed lead of the chosen answers."""
        # Without pairs, a row of pads runs through the same graph, as both answers, and weighs nothing.
        scores = self._scored(engine, [*(pair.chosen for pair in rows), *(pair.rejected for pair in rows)])
        chosen, rejected = scores.chunk(2) if rows else (scores, scores)
        sums = self._loss(chosen, rejected, weights=torch.full_like(chosen, 1.0 if rows else 0.0, dtype=torch.float32))
        return {"loss": sums.loss, "accuracy": sums.correct, "margin": sums.margin}

    def _loss(self, chosen: Tensor, rejected: Tensor, weights: Tensor | None = None) -> PairwiseLoss:
        margin = torch.full_like(chosen, self.spec.margin)
        return pairwise_loss(chosen, rejected, margin=margin, centering=self.spec.centering, weights=weights)

    def evaluate(self, engine: Any, rows: Sequence[Pair]) -> Evaluation:
        """Return loss, accuracy, margin, calibration and scores on held-out pairs, and the first pairs' scores."""
        scores = self._scores(engine, [ids for pair in rows for ids in (pair.chosen, pair.rejected)])
        chosen, rejected = scores[0::2], scores[1::2]
        sums = self._loss(chosen, rejected)
        spread = _moments(scores)
        table = preference_calibration(chosen, rejected)
        return Evaluation(
            metrics={
                "eval_loss": float(sums.loss) / len(rows),
                "eval_accuracy": float(sums.correct) / len(rows),
                "eval_margin": float(sums.margin) / len(rows),
                "calibration_error": float(expected_calibration_error(table)),
                "eval_reward": float(spread.mean),
                "eval_reward_std": float(spread.variance.sqrt()),
                **_accuracy_by_group(rows, bradley_terry_correct(chosen, rejected)),
            },
            samples=[
                Sample(preference.prompt, answer, preference.chosen, {"reward": float(scores[2 * index + offset])})
                for index, preference in enumerate(pair.preference for pair in rows[: self.spec.train.sample_prompts])
                for offset, answer in enumerate((preference.chosen, preference.rejected))
            ],
        )

    def settle(self, engine: Any) -> dict[str, float]:
        """Return mean and deviation of the scores of reference answers: held out ones, if there are any."""
        if not self.spec.normalise:
            return {"reward_mean": 0.0, "reward_std": 1.0}
        different = {tuple(pair.chosen.tolist()): pair.chosen for pair in self.eval_rows or self.rows}
        spread = _moments(self._scores(engine, list(different.values())[:REFERENCES]))
        deviation = float(spread.variance.sqrt())
        return {"reward_mean": float(spread.mean), "reward_std": deviation if deviation > 0.0 else 1.0}

    def describe_export(self, network: Any, settled: Mapping[str, float]) -> None:
        """Put mean and deviation of the scores into the config."""
        network.config.update(dict(settled))

    def _scores(self, engine: Any, sequences: Sequence[Tensor]) -> Tensor:
        size = 2 * self.spec.train.micro_batch_size  # as many sequences as in training
        with evaluating(engine):
            score = partial(self._scored, engine.module)
            return score_shares(score, sequences, self.ranks, micro_batch_size=size)

    def _scored(self, engine: Any, sequences: Sequence[Tensor]) -> Tensor:
        """Return the score of each sequence, or that of a row of pads if there is none, by one forward pass."""
        data, pad_id, device = self.spec.data, self.tokenizer.pad_token_id, self.ranks.device
        if data.packing:
            return packed_scores_of(engine, packed(sequences, data.max_length, pad_id, device))
        return scores_of(engine, padded(sequences, pad_id, device))


def _moments(scores: Tensor) -> Moments:
    return Moments.of(scores, torch.ones_like(scores, dtype=torch.bool))


def _accuracy_by_group(rows: Sequence[Pair], correct: Tensor) -> dict[str, float]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for pair, is_correct in zip(rows, correct.tolist(), strict=True):
        if pair.preference.group is not None:
            groups[pair.preference.group].append(is_correct)
    largest = sorted(groups, key=lambda group: (-len(groups[group]), group))[:GROUPS]
    return {f"eval_accuracy/{group}": sum(groups[group]) / len(groups[group]) for group in sorted(largest)}


def trainer(spec: RmSpec, run_dir: Path, ranks: Runtime, journal: Journal) -> SupervisedTrainer:
    """Read the pairs and build the model. Raises InvalidInput if they are broken."""
    with explained("reading the data"):
        objective = RmObjective(spec, run_dir, ranks)
    return SupervisedTrainer(spec, objective, run_dir, ranks, journal)
