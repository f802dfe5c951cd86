"""The scores of whole sequences, read where transformers reads them: at the last token that is no pad.

Several sequences may share a row: each is read at its own last token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from engine.data.packing import fill_narrowly
from engine.job.runtime import Runtime
from engine.train.batches import micro_steps, share


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
class PackedBatch:
    """Sequences in the rows of one forward pass, without attention between them.

    input_ids, position_ids: int64 [rows, longest], with pads on the right; positions start again at 0 with each
        sequence, which marks the borders for attention.
    row, end: int64 [sequences]; the row of each sequence, and where in it its last token stands.
    """

    input_ids: Tensor
    position_ids: Tensor
    row: Tensor
    end: Tensor


def packed(sequences: Sequence[Tensor], max_length: int, pad_id: int, device: torch.device) -> PackedBatch:
    """Return the sequences in rows of at most `max_length` tokens, with few pads.

    No sequences become one row of two pads, which is read at its first one.
    """
    lengths = [len(sequence) for sequence in sequences]
    rows = fill_narrowly(lengths, max_length) or [[]]
    longest = max(sum(lengths[index] for index in row) for row in rows) or 2
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    positions = torch.arange(longest).repeat(len(rows), 1)
    row_of, end_of = torch.zeros(2, max(1, len(sequences)), dtype=torch.int64)
    for number, row in enumerate(rows):
        end = 0
        for index in row:
            begin, end = end, end + lengths[index]
            ids[number, begin:end] = sequences[index]
            # For attention the pads continue the last sequence; nothing looks at them.
            positions[number, begin:] = torch.arange(longest - begin)
            row_of[index], end_of[index] = number, end - 1
    return PackedBatch(ids.to(device), positions.to(device), row_of.to(device), end_of.to(device))


def score_every_position(network: Any) -> None:
    """Have a model for sequence classification with one label return scores at all positions: [batch, length].

    Its own forward pass reads one position of each row. The network itself is changed rather than wrapped, so that its
    weights keep their names in checkpoints and in the export, and DeepSpeed's hooks see the forward pass begin and end.
    """
    network.forward = MethodType(_at_every_position, network)


def _at_every_position(network: Any, input_ids: Tensor, position_ids: Tensor) -> Tensor:
    hidden = network.base_model(
        input_ids=input_ids, position_ids=position_ids, use_cache=False, return_dict=True
    ).last_hidden_state
    scores: Tensor = network.score(hidden).squeeze(-1)
    return scores


def packed_scores_of(engine: Any, batch: PackedBatch) -> Tensor:
    """Return the score of each sequence: [sequences], in the type that the network computes in.

    `engine` is a model that has been told to `score_every_position`, or the DeepSpeed engine around one.
    """
    scores: Tensor = engine(input_ids=batch.input_ids, position_ids=batch.position_ids)
    return scores[batch.row, batch.end]


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
    return score_shares(
        lambda part: score(padded(part, pad_id, ranks.device)), sequences, ranks, micro_batch_size=micro_batch_size
    )


def score_shares(
    score: Callable[[Sequence[Tensor]], Tensor], sequences: Sequence[Tensor], ranks: Runtime, *, micro_batch_size: int
) -> Tensor:
    """Return the score of each sequence, float64 [sequences], on every rank. Called by all ranks together.

    `score` makes one forward pass, also without sequences, and returns the score of each.
    """
    numbered = [_Numbered(number, ids) for number, ids in enumerate(sequences)]
    parts = micro_steps(len(numbered), world_size=ranks.world_size, micro_batch_size=micro_batch_size)
    own: list[tuple[int, float]] = []
    for part in share(numbered, rank=ranks.rank, world_size=ranks.world_size, parts=parts):
        scores = score([one.ids for one in part])
        own += zip((one.number for one in part), scores.tolist(), strict=False)
    by_number = sorted(pair for mine in ranks.from_all(own) for pair in mine)
    return torch.tensor([score for _, score in by_number], dtype=torch.float64)
