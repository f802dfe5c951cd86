"""An exponential moving average of the policy's weights (Ouyang et al. 2022: decay .992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.job.runtime import Runtime


class MovingAverage:
    """Float32 in host memory; under ZeRO 3 each rank has the average of its own shards."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._average = {name: _local(p).float().cpu().clone() for name, p in self._parameters.items()}

    def update(self) -> None:
        """Take the weights as they are into the average: a ← decay · a + (1 − decay) · weights."""
        for name, parameter in self._parameters.items():
            self._average[name].lerp_(_local(parameter).float().cpu(), 1.0 - self._decay)

    def state(self, ranks: Runtime) -> dict[str, Tensor]:
        """Return the whole average on rank 0, nothing elsewhere. Called by all ranks together."""
        whole: dict[str, Tensor] = {}
        parameter: Any  # what ZeRO 3 adds to a parameter, no type knows
        for name, parameter in self._parameters.items():
            average = self._average[name]
            if hasattr(parameter, "ds_id"):
                shards = ranks.from_all(average)
                average = torch.cat(shards)[: parameter.ds_numel].view(parameter.ds_shape)
            if ranks.is_main:
                whole[name] = average.clone()
        return whole

    def restore(self, whole: Mapping[str, Tensor], ranks: Runtime) -> None:
        """Go on from a whole average, on any number of ranks."""
        for name, parameter in self._parameters.items():
            average = whole[name]
            if hasattr(parameter, "ds_id"):
                size = len(self._average[name])
                padded = torch.zeros(size * ranks.world_size)
                padded[: average.numel()] = average.flatten()
                average = padded[ranks.rank * size :][:size]
            self._average[name].copy_(average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the average in place of the weights."""
        kept = {name: _local(parameter).cpu().clone() for name, parameter in self._parameters.items()}
        self._put(self._average)
        try:
            yield
        finally:
            self._put(kept)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                _local(parameter).copy_(weights[name])


def _local(parameter: nn.Parameter) -> Tensor:
    """Return what this rank holds of a parameter: its shard under ZeRO 3, flat and padded, else all of it."""
    shard = getattr(parameter, "ds_tensor", None)
    return parameter.detach() if shard is None else shard.detach()
