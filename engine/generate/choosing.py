"""How likely a model finds given answers to a question: what a multiple choice is decided by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.data.conversations import Conversation, Message
from engine.data.templates import apply_template
from engine.errors import InvalidInput, RunFailed
from engine.generate.grounding import Evidence, Grounding, grounded_prompts
from engine.generate.models import longest_sequence
from engine.generate.sampling import takes_logits_to_keep
from engine.rl.log_probs import log_probs


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a model thinks of the choices of a question."""

    log_probs: tuple[float, ...]  # of each choice, nats, summed over its tokens without the end of the answer
    tokens: tuple[int, ...]  # of each choice
    passages: tuple[int, ...]  # places in the given passages that were in the prompt


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A prompt with one choice behind it."""

    ids: list[int]
    answer: int  # how many tokens at the end are the choice's


def weigh_choices(
    network: Any,
    tokenizer: Any,
    questions: Sequence[str],
    passages: Sequence[Sequence[Evidence]] | None,
    choices: Sequence[Sequence[str]],
    *,
    grounding: Grounding,
    batch_size: int,
    places: Sequence[str],
) -> list[Weighed]:
    """Return what the model thinks of the choices of each question, as the answer that its chat template writes.

    Arguments:
        passages: of each question, the best first; None: all are asked without.
        choices: of each question.
        places: of the questions, for errors.

    Raises:
        InvalidInput: if a question with a choice does not fit into the model.
        RunFailed: if the model does not compute numbers.
    """
    longest = longest_sequence(network) or 1 << 20
    used: list[tuple[int, ...]] = []
    sequences: list[_Sequence] = []
    for number, (question, offered, place) in enumerate(zip(questions, choices, places, strict=True)):
        alone = _behind(question, offered, place, tokenizer)
        (prompt,) = grounded_prompts(
            [question],
            [None if passages is None else passages[number]],
            tokenizer,
            grounding,
            longest_prompt=longest - max(one.answer for one in alone),
            places=[place],
        )
        used.append(prompt.used)
        asked = prompt.messages[-1].content
        sequences += alone if asked == question else _behind(asked, offered, place, tokenizer)
    totals = iter(_totals(network, tokenizer, sequences, batch_size))
    lengths = iter([one.answer for one in sequences])
    return [
        Weighed(tuple(next(totals) for _ in offered), tuple(next(lengths) for _ in offered), found)
        for offered, found in zip(choices, used, strict=True)
    ]


def _behind(asked: str, choices: Sequence[str], place: str, tokenizer: Any) -> list[_Sequence]:
    """Return the prompt with each choice behind it, up to the choice's last token."""
    conversations = [Conversation((Message("user", asked), Message("assistant", one)), place) for one in choices]
    found = []
    for choice, (ids, mask) in zip(choices, apply_template(conversations, tokenizer), strict=True):
        written = [number for number, carries in enumerate(mask) if carries]
        while written and ids[written[-1]] == tokenizer.eos_token_id:
            written.pop()
        if not written or written[-1] - written[0] + 1 != len(written):
            raise InvalidInput(f"the tokenizer makes nothing of the choice {choice!r}.", where=place)
        found.append(_Sequence(ids[: written[-1] + 1], len(written)))
    return found


@torch.no_grad()
def _totals(network: Any, tokenizer: Any, sequences: Sequence[_Sequence], batch_size: int) -> list[float]:
    """Return the log-probability of each sequence's choice; sequences of like length share a batch."""
    totals = [0.0] * len(sequences)
    by_length = sorted(range(len(sequences)), key=lambda number: -len(sequences[number].ids))
    for start in range(0, len(by_length), batch_size):
        chosen = by_length[start : start + batch_size]
        batch = [sequences[number] for number in chosen]
        for number, total in zip(chosen, _batch_totals(network, tokenizer.pad_token_id, batch).tolist(), strict=True):
            totals[number] = total
    if not all(map(math.isfinite, totals)):
        raise RunFailed(
            "the model computes probabilities that are no numbers.",
            hint="Load it in fp32 or bf16; if that does not help, its weights are damaged.",
            where=network.config.name_or_path,
        )
    return totals


def _batch_totals(network: Any, pad: int, batch: Sequence[_Sequence]) -> Tensor:
    """Return the log-probability of each choice, float64 [batch]."""
    # Padded on the left, all choices end in the last column.
    width, kept = max(len(one.ids) for one in batch), max(one.answer for one in batch)
    ids = torch.tensor([[pad] * (width - len(one.ids)) + one.ids for one in batch])
    mask = torch.tensor([[0] * (width - len(one.ids)) + [1] * len(one.ids) for one in batch])
    answers = torch.tensor([[0] * (kept - one.answer) + [1] * one.answer for one in batch])
    device = network.device
    last_only = {"logits_to_keep": kept + 1} if takes_logits_to_keep(network) else {}
    logits = network(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        position_ids=(mask.cumsum(-1) - 1).clamp_min(0).to(device),
        use_cache=False,
        return_dict=True,
        **last_only,
    ).logits
    found = log_probs(logits[:, -kept - 1 : -1], ids[:, -kept:].to(device))
    return (found.double().cpu() * answers).sum(-1)
