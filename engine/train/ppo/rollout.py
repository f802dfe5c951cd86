"""A rollout: answers to prompts, and what policy, reference and critic say of them; the work dealt over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.data.prompts import Prompt
from engine.generate.sampling import Limits, Response, TransformersSampler
from engine.job.runtime import Runtime
from engine.train.batches import micro_steps, share
from engine.train.ppo.episodes import Episode, EpisodeBatch, unstacked
from engine.train.ppo.experience import Scored
from engine.train.ppo.networks import Networks


class Rollout:
    """Writes and scores answers. Every rank ends up with all of them."""

    def __init__(
        self,
        networks: Networks,
        tokenizer: Any,
        limits: Limits,
        *,
        micro_batch_size: int,
        ranks: Runtime,
    ) -> None:
        self._networks, self._tokenizer, self._limits, self._ranks = networks, tokenizer, limits, ranks
        self._size = 2 * micro_batch_size  # twice as many as in training: there are no gradients

    def sample(self, prompts: Sequence[Prompt], seeds: Sequence[int] | None) -> list[Episode]:
        """Return an answer to each prompt; without seeds the likeliest one. Called by all ranks together."""
        ranks = self._ranks
        mine = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))[ranks.rank :: ranks.world_size]
        with self._networks.decoding() as network:
            sampler = TransformersSampler(network, self._limits, ranks.device)
            responses = sampler.sample(
                [prompts[number].ids for number in mine], None if seeds is None else [seeds[number] for number in mine]
            )
        # Plain lists: a pickled tensor brings its storage along.
        own = [
            (number, response.ids.tolist(), response.log_probs.tolist(), response.ended)
            for number, response in zip(mine, responses, strict=True)
        ]
        written = sorted(row for rows in ranks.from_all(own) for row in rows)
        texts = self._tokenizer.batch_decode([ids for _, ids, _, _ in written], skip_special_tokens=True)
        return [
            Episode(
                number,
                prompts[number],
                Response(torch.tensor(ids, dtype=torch.int32), torch.tensor(log_probs), ended),
                text.strip(),
            )
            for (number, ids, log_probs, ended), text in zip(written, texts, strict=True)
        ]

    def score(self, episodes: Sequence[Episode]) -> Scored:
        """Return what the networks say of the answers. Called by all ranks together."""
        networks = self._networks
        values = [torch.zeros(len(episode.response.ids)) for episode in episodes]
        with networks.measuring():
            log_probs, entropy = self._each(episodes, networks.log_probs)
            if networks.has_critic:
                (values,) = self._each(episodes, lambda batch: (networks.values(batch),))
        with networks.reference() as reference:
            (ref_log_probs,) = self._each(episodes, lambda batch: (reference(batch),))
        return Scored(log_probs, ref_log_probs, entropy, values)

    def _each(
        self, episodes: Sequence[Episode], compute: Callable[[EpisodeBatch], Sequence[Tensor]]
    ) -> list[list[Tensor]]:
        """Return each of the computed tensors by episode, every rank computing its share."""
        ranks = self._ranks
        parts = micro_steps(len(episodes), world_size=ranks.world_size, micro_batch_size=self._size)
        own: list[tuple[int, list[list[float]]]] = []
        for part in share(episodes, rank=ranks.rank, world_size=ranks.world_size, parts=parts):
            computed = compute(EpisodeBatch.of(part, self._limits.pad_id, ranks.device))
            by_kind = [unstacked(tensor, part) for tensor in computed]
            own += [(episode.number, [rows[row].tolist() for rows in by_kind]) for row, episode in enumerate(part)]
        by_number = dict(pair for rows in ranks.from_all(own) for pair in rows)
        kinds = len(by_number[episodes[0].number])
        return [[torch.tensor(by_number[episode.number][kind]) for episode in episodes] for kind in range(kinds)]
