"""What each term of the reward says of answers: reward models by all ranks together, rules by each on its share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.data.prompts import judged_ids
from engine.errors import PlumblineError
from engine.job.runtime import Runtime
from engine.spec.models import PpoSpec
from engine.train.ppo.episodes import Episode
from engine.train.ppo.networks import Networks
from engine.train.ppo.terms import Answer, Rule, make_rule
from engine.train.scoring import score_all


class Judges:
    """The terms of the reward, before they are normalised, clipped and weighted."""

    def __init__(self, spec: PpoSpec, networks: Networks, tokenizer: Any, ranks: Runtime) -> None:
        self._spec, self._networks, self._tokenizer, self._ranks = spec, networks, tokenizer, ranks
        self._rules: dict[str, Rule] = {
            name: make_rule(name, term, spec.data.abstentions)
            for name, term in spec.rewards.items()
            if term.kind != "model"
        }

    def values(self, episodes: Sequence[Episode]) -> Mapping[str, Tensor]:
        """Return what each term says: float64 [episodes] by name, on every rank. Called by all ranks together."""
        return {
            name: self._ruled(name, episodes) if name in self._rules else self._scores(name, episodes)
            for name in self._spec.rewards
        }

    def _scores(self, name: str, episodes: Sequence[Episode]) -> Tensor:
        prompts = [episode.prompt for episode in episodes]
        if self._spec.rewards[name].evidence:
            before = judged_ids(prompts, self._tokenizer)
        else:
            before = [prompt.ids for prompt in prompts]
        # The very tokens that were sampled, with the end-of-sequence token where there was one: as in training.
        sequences = [
            torch.cat([torch.tensor(ids, dtype=torch.int32), episode.response.ids])
            for ids, episode in zip(before, episodes, strict=True)
        ]
        size = 2 * self._spec.train.micro_batch_size
        with self._networks.judge(name) as judge:
            return score_all(judge, sequences, self._ranks, micro_batch_size=size, pad_id=self._tokenizer.pad_token_id)

    def _ruled(self, name: str, episodes: Sequence[Episode]) -> Tensor:
        """Return a rule's values, each computed once: a user's own function may be slow, or ask somebody."""
        ranks = self._ranks
        own = [episode.answer for episode in episodes[ranks.rank :: ranks.world_size]]
        values = torch.zeros(len(episodes), dtype=torch.float64)
        for rank, part in enumerate(ranks.from_all(_outcome(self._rules[name], own))):
            if isinstance(part, PlumblineError):  # on every rank alike, so that none waits for another
                raise part
            values[rank :: ranks.world_size] = torch.tensor(part, dtype=torch.float64)
        return values


def _outcome(rule: Rule, answers: Sequence[Answer]) -> list[float] | PlumblineError:
    try:
        return list(rule(answers)) if answers else []
    except PlumblineError as error:
        return error
