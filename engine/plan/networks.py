"""The networks of a run: their shape, what of them trains, and how DeepSpeed spreads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.plan.shape import Linear, ModelShape
from engine.spec.sections import Lora, Train


@dataclass(frozen=True, slots=True)
class Network:
    """A network of a run. With adapters, they train, and with them a score head; nothing else does."""

    shape: ModelShape
    lora: Lora | None = None
    frozen: bool = False  # it only scores
    shares_base: bool = False  # the weights under its adapters belong to another network

    @property
    def adapters(self) -> int:
        """Parameters of the adapters: two factors a linear layer (Hu et al. 2021)."""
        return sum(
            layer.copies * (self.lora.rank if self.lora else 0) * (layer.inputs + layer.outputs)
            for layer in self.adapted
        )

    @property
    def adapted(self) -> tuple[Linear, ...]:
        """The linear layers that have adapters."""
        return () if self.lora is None else targeted(self.shape, self.lora)

    @property
    def parameters(self) -> int:
        """All that a forward pass goes through."""
        return self.shape.parameters + self.adapters

    @property
    def own(self) -> int:
        """The parameters that it does not share."""
        return self.adapters + self.shape.head if self.shares_base else self.parameters

    @property
    def trainable(self) -> int:
        """The parameters that train."""
        if self.frozen:
            return 0
        return self.parameters if self.lora is None else self.adapters + self.shape.head

    @property
    def largest(self) -> int:
        """Elements of the largest tensor that trains."""
        if self.frozen:
            return 0
        if self.lora is None:
            return self.shape.largest
        return max(self.shape.head, *(self.lora.rank * max(layer.inputs, layer.outputs) for layer in self.adapted), 0)


def targeted(shape: ModelShape, lora: Lora) -> tuple[Linear, ...]:
    """Return the linear layers that the targets name; all, if they name none.

    A name stands for all layers that end in it. In an architecture that is estimated, whose names are unknown, targets
    that name nothing stand for all layers.
    """
    found = tuple(layer for layer in shape.linears if any(_names(target, layer) for target in lora.targets))
    return found if found or (lora.targets and shape.exact) else shape.linears


def unknown_targets(shape: ModelShape, lora: Lora) -> Iterator[str]:
    """Yield the targets that name no linear layer of an architecture that is known."""
    if shape.exact:
        for target in lora.targets:
            if not any(_names(target, layer) for layer in shape.linears):
                yield target


def _names(target: str, layer: Linear) -> bool:
    # A target may be a whole path, as "model.layers.0.self_attn.q_proj"; it is then taken for all layers.
    return f".{layer.name}".endswith(f".{target}") or f".{target}".endswith(f".{layer.name}")


@dataclass(frozen=True, slots=True)
class Sharding:
    """How DeepSpeed spreads a network over the ranks, and what of it waits in host memory."""

    zero_stage: int
    offload_optimizer: bool = False
    offload_parameters: bool = False  # of a frozen network: between uses
    nvme: bool = False  # what waits does so on a local disk (ZeRO 3)

    @classmethod
    def of(cls, train: Train) -> Sharding:
        """Return that of the network that a section trains."""
        return cls(train.zero_stage, train.offload_optimizer, train.offload_parameters, train.nvme_path is not None)

    def __str__(self) -> str:
        waits = (("optimiser", self.offload_optimizer), ("parameters", self.offload_parameters))
        offloaded = [what for what, is_set in waits if is_set]
        where = "disk" if self.nvme and self.zero_stage == 3 else "the host"
        return f"ZeRO {self.zero_stage}" + (f" with {' and '.join(offloaded)} on {where}" if offloaded else "")
