"""Episodes: a prompt and the answer that was sampled to it; and how a network reads several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.data.prompts import Prompt
from engine.generate.sampling import Response
from engine.train.ppo.terms import Answer


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """A prompt with its answer. All ranks hold the episodes of all ranks, in one order."""

    number: int  # its place in the global batch
    prompt: Prompt
    response: Response
    text: str  # the response without special tokens

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response.ids)

    @property
    def ids(self) -> Tensor:
        """The whole sequence, int32."""
        return torch.cat([torch.tensor(self.prompt.ids, dtype=torch.int32), self.response.ids])

    @property
    def answer(self) -> Answer:
        """What the terms of the reward see."""
        return Answer(
            prompt=self.prompt.text,
            response=self.text,
            accepted=self.prompt.answers,
            answerable=self.prompt.answerable,
            evidence=self.prompt.evidence,
            ended=self.response.ended,
            tokens=len(self.response.ids),
            group=self.prompt.group,
            passages=self.prompt.passages,
        )


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeBatch:
    """Episodes of one forward pass.

    Sequences are padded on the right, where causal attention never looks. What belongs to response tokens is
    [batch, longest response], aligned at the first response token: the layout of `engine.rl`.
    """

    input_ids: Tensor  # int64 [batch, length]
    columns: Tensor  # int64 [columns]: those that predict a response token of some row
    places: Tensor  # int64 [batch, longest response]: which of the columns predicts the token
    tokens: Tensor  # int64 [batch, longest response]
    response_mask: Tensor  # bool [batch, longest response]

    @classmethod
    def of(cls, episodes: Sequence[Episode], pad_id: int, device: torch.device) -> EpisodeBatch:
        """Return the episodes as tensors; no episodes become one row of two pads whose mask is false."""
        rows = max(1, len(episodes))
        input_ids = torch.full((rows, max(map(len, episodes), default=2)), pad_id, dtype=torch.int64)
        longest = max((len(episode.response.ids) for episode in episodes), default=1)
        predicting = torch.zeros(rows, longest, dtype=torch.int64)
        response_mask = torch.zeros(rows, longest, dtype=torch.bool)
        for row, episode in enumerate(episodes):
            length = len(episode.response.ids)
            input_ids[row, : len(episode)] = episode.ids
            response_mask[row, :length] = True
            predicting[row, :length] = torch.arange(length) + len(episode.prompt) - 1
        columns = predicting[response_mask].unique() if episodes else torch.zeros(1, dtype=torch.int64)
        predicting = torch.where(response_mask, predicting, columns[0])
        tokens = input_ids.gather(1, predicting + 1)
        places = torch.searchsorted(columns, predicting)
        return cls(*(t.to(device) for t in (input_ids, columns, places, tokens, response_mask)))


def stacked(rows: Sequence[Tensor], longest: int, device: torch.device) -> Tensor:
    """Return float32 rows of different lengths as [max(1, rows), longest], 0 on the right."""
    whole = torch.zeros(max(1, len(rows)), longest, dtype=torch.float32)
    for row, values in zip(whole, rows, strict=False):
        row[: len(values)] = values
    return whole.to(device)


def unstacked(values: Tensor, episodes: Sequence[Episode]) -> list[Tensor]:
    """Return the response tokens' values of each episode, float32 on the CPU, from [batch, longest response]."""
    host = values.float().cpu()
    return [row[: len(episode.response.ids)].clone() for row, episode in zip(host, episodes, strict=False)]
