"""Writing answers: from the whole distribution at the temperature at which they are scored, nothing cut off."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# The batch shrinks when at most this share of its rows still writes: each time costs a copy of the cache.
_SHRINK_AT = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """What a sampler wrote: token ids and their log-probabilities as it drew them, both [length]."""

    ids: Tensor  # int32, with the end-of-sequence token if it ended
    log_probs: Tensor  # float32, nats, at the sampling temperature
    ended: bool  # by its end-of-sequence token, not by its length


class Sampler(ABC):
    """What writes answers. It needs no other rank: ranks may finish at different times and lengths."""

    @abstractmethod
    def sample(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int] | None) -> list[Response]:
        """Return an answer to each prompt.

        Arguments:
            prompts: token ids.
            seeds: one a prompt: the same one draws the same answer, in whatever company; None: the likeliest tokens.
        """


def episode_seed(*numbers: int) -> int:
    """Return a seed that the numbers alone decide, far from that of their neighbours."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return int.from_bytes(digest[:7], "big")


@dataclass(frozen=True, slots=True)
class Limits:
    """When an answer ends, and how it is drawn."""

    eos_id: int
    pad_id: int
    max_response_length: int  # tokens
    temperature: float
    batch_size: int  # most sequences at once
    also_ends: tuple[int, ...] = ()  # other tokens that end an answer, such as the end of a turn


class TransformersSampler(Sampler):
    """Decodes with a transformers model: left-padded batches, a static cache, and finished rows leave the batch."""

    def __init__(self, network: Any, limits: Limits, device: torch.device) -> None:
        self.network, self.limits, self.device = network, limits, device

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int] | None) -> list[Response]:
        """Return an answer to each prompt; prompts of like length share a batch."""
        responses: list[Response | None] = [None] * len(prompts)
        by_length = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        for start in range(0, len(by_length), self.limits.batch_size):
            chosen = by_length[start : start + self.limits.batch_size]
            uniforms = None
            if seeds is not None:
                uniforms = torch.stack([_uniforms(seeds[i], self.limits.max_response_length) for i in chosen])
            written = _Batch(self.network, self.limits, [prompts[i] for i in chosen], uniforms, self.device).write()
            for index, response in zip(chosen, written, strict=True):
                responses[index] = response
        return [response for response in responses if response is not None]


def takes_logits_to_keep(model: nn.Module) -> bool:
    """Whether the model can compute logits at chosen positions only."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _uniforms(seed: int, length: int) -> Tensor:
    """Return what decides each token of an answer: float64 [length] in [0, 1)."""
    return torch.rand(length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class _Batch:
    """One batch that is decoded."""

    def __init__(
        self,
        network: Any,
        limits: Limits,
        prompts: Sequence[Sequence[int]],
        uniforms: Tensor | None,
        device: torch.device,
    ) -> None:
        from transformers import StaticCache

        self.network, self.limits, self.device = network, limits, device
        self.last_only = {"logits_to_keep": 1} if takes_logits_to_keep(network) else {}
        self.uniforms = uniforms.to(device) if uniforms is not None else None
        rows, width, longest = len(prompts), max(map(len, prompts)), limits.max_response_length
        self.ids = torch.full((rows, width), limits.pad_id, dtype=torch.int64)
        self.mask = torch.zeros(rows, width + longest, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            self.ids[row, width - len(prompt) :] = torch.tensor(prompt)
            self.mask[row, width - len(prompt) :] = 1
        self.ids, self.mask = self.ids.to(device), self.mask.to(device)
        self.ends = torch.tensor([limits.eos_id, *limits.also_ends], device=device)
        self.width = width
        self.cache = StaticCache(config=network.config, max_cache_len=width + longest)
        self.tokens = torch.full((rows, longest), limits.pad_id, dtype=torch.int64, device=device)
        self.log_probs = torch.zeros(rows, longest, dtype=torch.float32, device=device)
        self.lengths = torch.full((rows,), longest, dtype=torch.int64, device=device)
        self.ended = torch.zeros(rows, dtype=torch.bool, device=device)
        self.writing = torch.arange(rows, device=device)  # the rows in the network's batch

    def write(self) -> list[Response]:
        """Decode until all rows have ended or reached the longest length."""
        positions = (self.mask[:, : self.width].cumsum(-1) - 1).clamp_min(0)
        logits = self._forward(self.ids, positions, self.width)
        for step in range(self.limits.max_response_length):
            token = self._draw(logits, step)
            alive = ~self.ended[self.writing]
            kept = int(alive.sum())
            if kept == 0 or step == self.limits.max_response_length - 1:
                break
            if kept <= _SHRINK_AT * len(alive):
                self._shrink(alive)
                token, positions = token[alive], positions[alive]
            positions = positions[:, -1:] + 1
            logits = self._forward(token.unsqueeze(-1), positions, self.width + step + 1)
        ids, log_probs = self.tokens.to(torch.int32).cpu(), self.log_probs.cpu()
        return [
            Response(ids[row, :length].clone(), log_probs[row, :length].clone(), ended)
            for row, (length, ended) in enumerate(zip(self.lengths.tolist(), self.ended.tolist(), strict=True))
        ]

    def _forward(self, ids: Tensor, positions: Tensor, seen: int) -> Tensor:
        """Return the logits [rows, vocabulary] of the next token; `seen` columns are then in the cache."""
        logits: Tensor = self.network(
            input_ids=ids,
            attention_mask=self.mask[:, :seen],
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            return_dict=True,
            **self.last_only,
        ).logits
        self.mask[:, seen] = 1  # the token that comes next is looked at from then on
        return logits[:, -1]

    def _draw(self, logits: Tensor, step: int) -> Tensor:
        """Write down the next token of each row in the batch, and return it."""
        log_probs = torch.log_softmax(logits.float() / self.limits.temperature, dim=-1)
        if self.uniforms is None:
            token = log_probs.argmax(dim=-1)
        else:
            # Inversion of the distribution function: one number decides, so that company changes nothing.
            below = log_probs.double().exp().cumsum(dim=-1)
            wanted = self.uniforms[self.writing, step] * below[:, -1]
            token = torch.searchsorted(below, wanted.unsqueeze(-1), right=True).squeeze(-1)
            token = token.clamp_max(log_probs.shape[-1] - 1)
        alive = ~self.ended[self.writing]
        rows = self.writing[alive]
        self.tokens[rows, step] = token[alive]
        self.log_probs[rows, step] = log_probs.gather(-1, token.unsqueeze(-1)).squeeze(-1)[alive]
        ends = rows[torch.isin(token[alive], self.ends)]
        self.ended[ends] = True
        self.lengths[ends] = step + 1
        return token

    def _shrink(self, alive: Tensor) -> None:
        """Take the rows that have ended out of the network's batch."""
        kept = alive.nonzero().flatten()
        self.writing, self.mask = self.writing[kept], self.mask[kept]
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys.index_select(0, kept), layer.values.index_select(0, kept)
