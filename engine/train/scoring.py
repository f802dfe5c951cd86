"""The scores of whole sequences, read where transformers reads them: at the last token that is no pad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.train.batches import micro_steps, share
from engine.train.runtime import Runtime


def padded(sequences: Sequence[Tensor], pad_id: int, device: torch.device) -> Tensor:
    """Return token ids [sequences, longest], int64, with pads on the right.

    None of the sequences may end with the pad token. No sequences become one row of two pads.
    """
    ids = torch.full((max(1, len(sequences)), max(map(len, sequences), default=2)), pad_id, dtype=torch.int64)
    for row, sequence in zip(ids, sequences, strict=False):
        row[: len(sequence)] = sequence
    return ids.to(device)


def scores_of(engine: Any, input_ids: Tensor) -> Tensor:
    """Return the score of each row: [batch], in the type that the network computes in.

    `engine` is a model for sequence classification with one label, or the DeepSpeed engine around one. Pads stand on
    the right, where causal attention never looks, so no mask is needed.
    """
    scores: Tensor = engine(input_ids=input_ids, use_cache=False, return_dict=True).logits
    return scores[:, 0]


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)


def score_all(
    score: Callable[[Tensor], Tensor],
    sequences: Sequence[Tensor],
    ranks: Runtime,
    *,
    micro_batch_size: int,
    pad_id: int,
) -> Tensor:
    """Return the score of each sequence, float64 [sequences], on every rank. Called by all ranks together.

    `score` returns the scores [batch] of padded token ids.
    """
    numbered = [_Numbered(number, ids) for number, ids in enumerate(sequences)]
    parts = micro_steps(len(numbered), world_size=ranks.world_size, micro_batch_size=micro_batch_size)
    own: list[tuple[int, float]] = []
    for part in share(numbered, rank=ranks.rank, world_size=ranks.world_size, parts=parts):
        scores = score(padded([one.ids for one in part], pad_id, ranks.device))
        own += zip((one.number for one in part), scores.tolist(), strict=False)
    by_number = sorted(pair for mine in ranks.from_all(own) for pair in mine)
    return torch.tensor([score for _, score in by_number], dtype=torch.float64)
