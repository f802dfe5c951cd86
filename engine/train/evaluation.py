"""What the model does on held-out rows: its means, and a few greedy answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from engine.job.journal import Sample
from engine.job.runtime import Runtime
from engine.train.batches import micro_steps, share

if TYPE_CHECKING:
    from engine.train.objective import Objective


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its expected answer, as token ids."""

    prompt: Sequence[int]
    reference: Sequence[int]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What held-out rows show."""

    metrics: Mapping[str, float]
    samples: Sequence[Sample] = ()


@contextmanager
def evaluating(engine: Any) -> Iterator[None]:
    """Compute without dropout and without gradients; afterwards the network or engine is as it was."""
    training = engine.training
    engine.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        engine.train(training)


def mean_sums(
    objective: Objective[Any], engine: Any, rows: Sequence[Any], runtime: Runtime, *, micro_batch_size: int
) -> dict[str, float]:
    """Return the objective's sums over the rows, divided by their weight. Called by all ranks together."""
    parts = micro_steps(len(rows), world_size=runtime.world_size, micro_batch_size=micro_batch_size)
    totals: dict[str, float] = {}
    with evaluating(engine):
        for part in share(rows, rank=runtime.rank, world_size=runtime.world_size, parts=parts):
            for name, value in objective.sums(engine.module, part).items():
                totals[name] = totals.get(name, 0.0) + float(value)
    weight = objective.weight(rows)
    return {name: total / weight for name, total in zip(totals, runtime.sum(*totals.values()), strict=True)}


def answers(
    engine: Any,
    questions: Sequence[Question],
    tokenizer: Any,
    runtime: Runtime,
    *,
    tokens: int,
) -> list[Sample]:
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
    with evaluating(engine):
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
        Sample(text(question.prompt), text(response), text(question.reference))
        for question, response in zip(questions, written, strict=True)
    ]
