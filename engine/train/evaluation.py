"""What the model does on held-out rows: its loss, and a few greedy answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from engine.train.batches import Row, collate, micro_steps, share
from engine.train.loss import summed_loss
from engine.train.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its expected answer, as token ids."""

    prompt: Sequence[int]
    reference: Sequence[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer to an evaluation prompt."""

    prompt: str
    response: str
    reference: str


@contextmanager
def _evaluating(engine: Any) -> Iterator[None]:
    engine.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        engine.train()


def evaluation_loss(
    engine: Any, rows: Sequence[Row], runtime: Runtime, *, micro_batch_size: int, pad_id: int, keep_logits: bool
) -> float:
    """Return the mean loss over all loss tokens of the rows. Called by all ranks together."""
    parts = micro_steps(len(rows), world_size=runtime.world_size, micro_batch_size=micro_batch_size)
    total = 0.0
    with _evaluating(engine):
        for part in share(rows, rank=runtime.rank, world_size=runtime.world_size, parts=parts):
            batch = collate(part, pad_id, runtime.device)
            total += float(summed_loss(engine.module, batch, keep_logits=keep_logits))
    (total,) = runtime.sum(total)
    return total / max(1, sum(row.loss_tokens for row in rows))


def answers(
    engine: Any,
    questions: Sequence[Question],
    tokenizer: Any,
    runtime: Runtime,
    *,
    tokens: int,
) -> list[Answer]:
    """Return greedy answers of at most `tokens` tokens to questions.

    Called by all ranks together; every rank writes the same answers, so that under ZeRO 3 they gather each layer in
    step. Only rank 0 computes where it has the whole model; the others return nothing.
    """
    partitioned = any(hasattr(parameter, "ds_id") for parameter in engine.module.parameters())
    if not questions or not (partitioned or runtime.is_main):
        return []
    width = max(len(question.prompt) for question in questions)
    ids = torch.full((len(questions), width), tokenizer.pad_token_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for index, question in enumerate(questions):
        ids[index, width - len(question.prompt) :] = torch.tensor(question.prompt)
        mask[index, width - len(question.prompt) :] = 1
    with _evaluating(engine):
        written = engine.module.generate(
            input_ids=ids.to(runtime.device),
            attention_mask=mask.to(runtime.device),
            do_sample=False,
            max_new_tokens=tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            synced_gpus=partitioned and runtime.world_size > 1,
        )[:, width:].tolist()

    def text(part: Sequence[int]) -> str:
        return str(tokenizer.decode(part, skip_special_tokens=True)).strip()

    return [
        Answer(text(question.prompt), text(response), text(question.reference))
        for question, response in zip(questions, written, strict=True)
    ]
