"""What each term of the reward says of answers: reward models by all ranks together, others by each on its share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.data.prompts import judged_ids
from engine.errors import PlumblineError
from engine.job.runtime import Runtime
from engine.spec.models import PpoSpec
from engine.spec.ppo import RewardTerm
from engine.train.ppo.episodes import Episode
from engine.train.ppo.networks import Networks
from engine.train.ppo.support import Shares, supported_shares
from engine.train.ppo.terms import Answer, Rule, make_rule
from engine.train.scoring import score_all

# Names the judge of support that measures alone: no term can have it.
_MEASURE = ""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What is said of a global batch of answers, on every rank."""

    values: Mapping[str, Tensor]  # float64 [episodes] by the name of each term
    # Float64 [episodes]: share of the claims that passages support, by the first term of that kind, or else by common
    # words. NaN for an answer without passages or claims.
    supported: Tensor
    read: Mapping[str, Sequence[int]] = field(default_factory=dict)  # tokens of each sequence, by reward model


class Judges:
    """The terms of the reward, before they are normalised, clipped and weighted."""

    def __init__(self, spec: PpoSpec, networks: Networks, tokenizer: Any, ranks: Runtime) -> None:
        self._spec, self._networks, self._tokenizer, self._ranks = spec, networks, tokenizer, ranks
        self._rules: dict[str, Rule] = {
            name: make_rule(name, term, spec.data.abstentions)
            for name, term in spec.rewards.items()
            if term.kind not in ("model", "support")
        }
        self._shares: dict[str, Shares] = {
            name: supported_shares(term, spec.data.abstentions)
            for name, term in spec.rewards.items()
            if term.kind == "support"
        }
        if spec.data.retrieval is not None and not self._shares:
            self._shares[_MEASURE] = supported_shares(RewardTerm(kind="support"), spec.data.abstentions)

    def judge(self, episodes: Sequence[Episode]) -> Judged:
        """Return what each term says, and what passages support. Called by all ranks together."""
        shares = {name: self._dealt(rule, episodes) for name, rule in self._shares.items()}
        values: dict[str, Tensor] = {}
        read: dict[str, list[int]] = {}
        for name in self._spec.rewards:
            if name in shares:
                values[name] = (shares[name] - 1.0).nan_to_num(0.0)
            elif name in self._rules:
                values[name] = self._dealt(self._rules[name], episodes)
            else:
                sequences = self._sequences(name, episodes)
                values[name], read[name] = self._scores(name, sequences), [*map(len, sequences)]
        nothing = torch.full((len(episodes),), math.nan, dtype=torch.float64)
        return Judged(values, next(iter(shares.values()), nothing), read)

    def _sequences(self, name: str, episodes: Sequence[Episode]) -> list[Tensor]:
        prompts = [episode.prompt for episode in episodes]
        before = judged_ids(prompts, self._tokenizer, evidence=self._spec.rewards[name].evidence)
        # The very tokens that were sampled, with the end-of-sequence token where there was one: as in training.
        return [
            torch.cat([torch.tensor(ids, dtype=torch.int32), episode.response.ids])
            for ids, episode in zip(before, episodes, strict=True)
        ]

    def _scores(self, name: str, sequences: Sequence[Tensor]) -> Tensor:
        size = 2 * self._spec.train.micro_batch_size
        with self._networks.judge(name) as judge:
            return score_all(judge, sequences, self._ranks, micro_batch_size=size, pad_id=self._tokenizer.pad_token_id)

    def _dealt(self, rule: Rule | Shares, episodes: Sequence[Episode]) -> Tensor:
        """Return a rule's values, each computed once: a user's own function may be slow, or ask somebody."""
        ranks = self._ranks
        own = [episode.answer for episode in episodes[ranks.rank :: ranks.world_size]]
        values = torch.zeros(len(episodes), dtype=torch.float64)
        for rank, part in enumerate(ranks.from_all(_outcome(rule, own))):
            if isinstance(part, PlumblineError):  # on every rank alike, so that none waits for another
                raise part
            values[rank :: ranks.world_size] = torch.tensor(part, dtype=torch.float64)
        return values


def _outcome(rule: Rule | Shares, answers: Sequence[Answer]) -> list[float] | PlumblineError:
    try:
        return list(rule(answers)) if answers else []
    except PlumblineError as error:
        return error
