"""The rows that a run trains and is evaluated on, in an order that a number resumes."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.data.batching import order
from engine.data.examples import Example, batched, load_examples
from engine.data.packing import PackedRow, pack
from engine.data.templates import set_template
from engine.data.tokenizers import train_tokenizer
from engine.errors import InvalidInput
from engine.generate import models
from engine.job import durable
from engine.job.folders import copy_from_main
from engine.job.runtime import Runtime
from engine.spec.models import PpoSpec, SftSpec, TrainedSpec
from engine.spec.sections import Data
from engine.train.batches import Row
from engine.train.evaluation import Question

_Item = TypeVar("_Item")

# Examples that are packed together where their order is to be kept.
_PIECE = 512


class Stream(Generic[_Item]):
    """The endless stream of rows: each epoch in an order of its own, which the seed alone decides, or as given.

    All rows are held by every rank, so that each knows the whole global batch without asking the others.
    """

    def __init__(self, rows: Sequence[_Item], seed: int, *, shuffled: bool = True) -> None:
        self.rows, self._seed, self._shuffled = rows, seed, shuffled
        self._epoch = -1
        self._order: Sequence[int] = ()

    def batch(self, seen: int, size: int) -> list[_Item]:
        """Return the `size` rows after the first `seen` of the stream."""
        return [self._row(position) for position in range(seen, seen + size)]

    def _row(self, position: int) -> _Item:
        epoch, index = divmod(position, len(self.rows))
        if not self._shuffled:
            return self.rows[index]
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order(self._seed, epoch, len(self.rows))
        return self.rows[self._order[index]]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows of supervised fine-tuning, and evaluation prompts."""

    tokenizer: Any
    rows: Sequence[Row]
    eval_rows: Sequence[Row]
    questions: Sequence[Question]


def load_dataset(spec: SftSpec, run_dir: Path, ranks: Runtime) -> Dataset:
    """Read and tokenise the data of a spec. Called by all ranks together.

    Raises:
        InvalidInput: if it is broken, or no training example carries loss.
    """
    tokenizer = load_tokenizer(spec, run_dir, ranks)
    examples = load_examples(spec.data, tokenizer, "train")
    held_out = load_examples(spec.data, tokenizer, "eval")
    rows = rows_of(examples, spec.data)
    if not any(row.loss_tokens for row in rows):
        raise InvalidInput("no token of the training data carries loss.", where=spec.data.train)
    questions = list(_questions(held_out))[: spec.train.sample_prompts]
    return Dataset(tokenizer, rows, rows_of(held_out, spec.data), questions)


def rows_of(examples: Sequence[Example], data: Data) -> list[Row]:
    """Return the examples as rows, several in one if they are to be packed: all in their order if it is to be kept."""
    if data.packing:
        packed = pack(examples, data.max_length) if data.order == "shuffled" else _packed_nearby(examples, data)
        return [Row.of(row.input_ids, row.loss_mask, row.position_ids) for row in packed]
    return [Row.of(example.input_ids, example.loss_mask) for example in examples]


def _packed_nearby(examples: Sequence[Example], data: Data) -> Iterable[PackedRow]:
    """Yield rows of neighbours alone; a piece is shuffled, because `pack` puts rows of short examples first."""
    for number, piece in enumerate(batched(examples, _PIECE)):
        rows = pack(piece, data.max_length)
        yield from (rows[index] for index in order(0, number, len(rows)))


def _questions(examples: Iterable[Example]) -> Iterable[Question]:
    for example in examples:
        if 0 < example.prompt_length < len(example.input_ids):
            ids = example.input_ids
            yield Question(ids[: example.prompt_length], ids[example.prompt_length :])


def load_tokenizer(spec: TrainedSpec, run_dir: Path, ranks: Runtime) -> Any:
    """Return the tokenizer of the model's folder, or train one, once a run directory."""
    if spec.model.path is not None:
        folder = Path(spec.model.path)
        models.require_model_folder(folder)
    else:
        folder = run_dir / "tokenizer"
        if ranks.is_main and not folder.is_dir():
            _train_tokenizer(spec, folder)
        copy_from_main(folder, ranks)
    tokenizer = models.load_tokenizer(folder)
    set_template(tokenizer, spec.data.template)
    return tokenizer


def _train_tokenizer(spec: TrainedSpec, folder: Path) -> None:
    temporary = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    assert not isinstance(spec, PpoSpec)  # a policy is not made from scratch
    train_tokenizer(spec.model.tokenizer, spec.data).save_pretrained(temporary)
    durable.replace_folder(temporary, folder)
