"""A network that trains: its DeepSpeed engine, AdamW, the gradients of a step, and their norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.job.runtime import Runtime
from engine.spec.sections import Train
from engine.train import models


class Learner:
    """One network and its optimiser. All ranks call the same methods in the same order.

    Arguments:
        network: whole on the CPU, or partitioned if it was loaded under ZeRO 3.
        train: precision, ZeRO stage, offload, optimiser and clipping.
        config: DeepSpeed's configuration, as `deepspeed_config` makes it of `train`.
        part_of: names the part that a parameter belongs to, by its name, where parts have learning rates of their own.
    """

    def __init__(
        self,
        network: nn.Module,
        train: Train,
        config: Mapping[str, Any],
        ranks: Runtime,
        *,
        part_of: Callable[[str], str] | None = None,
    ) -> None:
        import deepspeed

        self.train, self.ranks = train, ranks
        optimizer = train.optimizer
        adamw = torch.optim.AdamW(
            models.parameter_groups(network, optimizer.weight_decay, part_of=part_of),
            lr=0.0,  # set at each step
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
        )
        self.engine, *_ = deepspeed.initialize(
            model=network, optimizer=adamw, config=dict(config), dist_init_required=False
        )
        if train.precision == "bf16" and train.zero_stage == 0:
            # DeepSpeed took a step with empty gradients to allocate the moments: Adam would correct its bias one step
            # too late. Moments that are not there yet are made at the first real step.
            self.engine.basic_optimizer.state.clear()
        self.engine.train()
        self.overflowed = False

    @property
    def network(self) -> nn.Module:
        """The network itself, without DeepSpeed around it."""
        network: nn.Module = self.engine.module
        return network

    def set_lr(self, lr: float, *, part: str | None = None) -> None:
        """Set the learning rate of the next step, of one part or of all."""
        for group in self.engine.optimizer.param_groups:
            if part is None or group["part"] == part:
                group["lr"] = lr

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of `loss`, summed over the ranks, to that of the step; `last` before `step`."""
        self.engine.set_gradient_accumulation_boundary(last)
        # DeepSpeed averages gradients over the ranks; a mean over tokens or pairs needs their sum.
        self.engine.backward(loss * self.ranks.world_size, scale_wrt_gas=False)

    def step(self) -> float:
        """Take an optimiser step with the gradient that was gathered, and return its norm before clipping.

        Where fp16 overflowed, it changes nothing but the scale of the loss, and `overflowed` is true until the next.
        """
        norm = self._unclipped_norm()
        skipped = self.engine.skipped_steps
        self.engine.step()
        self.overflowed = self.engine.skipped_steps > skipped
        if norm is None:
            norm = float(self.engine.get_global_grad_norm())
            norm = norm if norm >= 0.0 else math.nan  # -1 says that the gradients are not finite
        return norm

    def _unclipped_norm(self) -> float | None:
        """Return the gradient norm where DeepSpeed keeps none: in fp32 without ZeRO. Reduced gradients are in place."""
        if self.train.zero_stage > 0 or self.train.precision != "fp32":
            return None
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))
