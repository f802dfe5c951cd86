"""What a kind is to the loop: the rows it trains on, the network, and the sums that it lowers and measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Sized
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from engine.train.evaluation import Evaluation

Item = TypeVar("Item", bound=Sized)  # what a step draws; its length is its number of tokens


class Objective(ABC, Generic[Item]):
    """The part of a run that its kind decides. All ranks call the same methods, each on its own share of the rows."""

    artifact = "model"  # the kind of what is exported

    tokenizer: Any
    rows: Sequence[Item]
    eval_rows: Sequence[Item]
    longest: int  # tokens of the longest sequence
    shuffled = True  # whether the rows come in another order in each pass

    @abstractmethod
    def build_network(self, zero_config: dict[str, Any]) -> nn.Module:
        """Return the network, whole on the CPU, or partitioned if it is loaded under ZeRO 3."""

    def width(self, row: Item) -> int:
        """Return the tokens that a row takes in a forward pass."""
        return len(row)

    def lengths(self, row: Item) -> Sequence[int]:
        """Return the tokens of each sequence of a row: those that see one another."""
        return (len(row),)

    @abstractmethod
    def weight(self, rows: Sequence[Item]) -> float:
        """Return what the sums over these rows are divided by; the rows are those of all ranks."""

    @abstractmethod
    def sums(self, engine: Any, rows: Sequence[Item]) -> dict[str, Tensor]:
        """Return sums over the rows as scalars, by metric; "loss" has the gradient.

        No rows give zeros, by the same graph: under ZeRO 3 every rank gathers every layer in each forward pass.
        """

    @abstractmethod
    def evaluate(self, engine: Any, rows: Sequence[Item]) -> Evaluation:
        """Return what held-out rows, those of all ranks, show."""

    def settle(self, engine: Any) -> dict[str, float]:
        """Return what is measured once, after the last step; it is kept in the checkpoint and exported."""
        return {}

    def describe_export(self, network: Any, settled: Mapping[str, float]) -> None:
        """Put into the network's config what a reader of the exported folder has to know."""
