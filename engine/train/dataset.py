"""The rows that a run trains and is evaluated on, in an order that a number resumes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.data.batching import order
from engine.data.examples import Example, load_examples
from engine.data.packing import pack
from engine.errors import InvalidInput
from engine.spec.models import SftSpec
from engine.train import durable, models
from engine.train.batches import Row
from engine.train.evaluation import Question
from engine.train.runtime import Runtime


@dataclass(slots=True)
class Dataset:
    """All rows, held by every rank, so that each knows the whole global batch without asking the others."""

    tokenizer: Any
    rows: Sequence[Row]
    eval_rows: Sequence[Row]
    questions: Sequence[Question]
    seed: int
    _epoch: int = -1
    _order: Sequence[int] = field(default_factory=list)

    def batch(self, seen: int, size: int) -> list[Row]:
        """Return the `size` rows that follow the first `seen` ones of the endless stream: epoch after epoch, each in
        its own order."""
        return [self._row(position) for position in range(seen, seen + size)]

    def _row(self, position: int) -> Row:
        epoch, index = divmod(position, len(self.rows))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order(self.seed, epoch, len(self.rows))
        return self.rows[self._order[index]]


def load_dataset(spec: SftSpec, run_dir: Path, ranks: Runtime, journal: Any) -> Dataset:
    raise NotImplementedError
