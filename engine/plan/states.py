"""Bytes of weights, gradients and optimiser states a rank, as DeepSpeed 0.19 allocates them for our configuration.

After Rajbhandari et al. 2020 (ZeRO), and what DeepSpeed does beyond the paper, measured: tests/plan/test_states.py
counts the tensors of running engines. Partitions are rounded up to whole elements; DeepSpeed pads a little more.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan.shape import ModelShape
from engine.spec.sections import Train

# DeepSpeed's own settings, which engine/train/deepspeed_config.py leaves alone; elements.
REDUCE_BUCKET = 500_000_000
MAX_LIVE_PARAMETERS = 1_000_000_000
SUB_GROUP = 1_000_000_000

FP32 = 4  # bytes
MOMENTS = 2 * FP32


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes of one rank."""

    weights: int
    gradients: int
    optimizer: int
    buffers: int  # of the gradient reduction, in the backward pass
    step: int  # temporaries of the optimiser step, when the activations are gone
    step_buffers: int = 0  # the part of `buffers` that stays during the step
    host_weights: int = 0  # offloaded, as the two below
    host_gradients: int = 0
    host_optimizer: int = 0

    @property
    def host(self) -> int:
        """All that is offloaded."""
        return self.host_weights + self.host_gradients + self.host_optimizer


def element_bytes(train: Train) -> int:
    """Return the bytes of one weight in the forward pass."""
    return 2 if train.precision == "bf16" else FP32


def state_bytes(shape: ModelShape, train: Train, *, ranks: int, micro_steps: int, on_cpu: bool = False) -> StateBytes:
    """Return what a rank holds.

    Args:
        shape: the model; all of it is trained.
        train: precision, ZeRO stage and offload.
        ranks: of the run.
        micro_steps: forward passes of an optimiser step.
        on_cpu: whether the rank computes on a CPU, where memory that is never written is never taken.
    """
    whole, width = shape.parameters, element_bytes(train)
    part = -(-whole // ranks)
    bucket = min(whole, REDUCE_BUCKET)
    bucket_buffer = bucket if on_cpu else REDUCE_BUCKET
    bf16 = train.precision == "bf16"
    stage = train.zero_stage
    if stage == 0:
        return StateBytes(
            weights=width * whole,
            gradients=width * whole,
            optimizer=(MOMENTS + FP32 * bf16) * whole,
            buffers=width * bucket if ranks > 1 else 0,
            step=(FP32 + FP32 * bf16) * whole,  # AdamW's square roots; gradients in fp32
        )
    optimizer = (FP32 + MOMENTS) * part  # the partition of the fp32 weights is a copy even of fp32 weights
    if stage == 1 and bf16 and not train.offload_optimizer:
        return StateBytes(
            weights=width * whole,
            gradients=(width + FP32) * whole,  # the fp32 sums are not partitioned
            optimizer=optimizer,
            buffers=FP32 * bucket if ranks > 1 else 0,
            step=FP32 * part,
        )
    largest = width * shape.largest  # the gradient that waits to be reduced
    if stage < 3:
        gradients = FP32 * (whole if stage == 1 else part)
        buffers = (FP32 if stage == 1 else width) * bucket_buffer + largest
        step = 2 * FP32 * part  # the flat gradient, AdamW's square roots
        if train.offload_optimizer:
            # On the host the gradient stands in fp32 for the optimiser, once more as the sum of the micro-steps, and
            # there is a copy of the weights' partition.
            return StateBytes(
                weights=width * whole,
                gradients=gradients if stage == 1 else 0,
                optimizer=0,
                buffers=buffers + 2 * largest,
                step=0,
                step_buffers=2 * largest,
                host_weights=width * part,
                host_gradients=FP32 * part * (2 if micro_steps > 1 else 1),
                host_optimizer=optimizer + FP32 * part,
            )
        return StateBytes(
            weights=width * whole,
            gradients=gradients,
            optimizer=optimizer,
            buffers=buffers,
            step=step,
        )
    gathered = width * min(whole, MAX_LIVE_PARAMETERS) if ranks > 1 else 0
    sub_group = FP32 * min(part, SUB_GROUP)
    bucket_bytes = width * bucket_buffer
    return StateBytes(
        weights=gathered + (0 if train.offload_parameters else width * part),
        gradients=0 if train.offload_optimizer else FP32 * part,
        optimizer=0 if train.offload_optimizer else optimizer,
        buffers=bucket_bytes + width * bucket + largest,  # the bucket is copied to be scattered
        step=0 if train.offload_optimizer else 2 * sub_group,
        step_buffers=bucket_bytes,
        host_weights=width * part if train.offload_parameters else 0,
        host_gradients=2 * FP32 * part if train.offload_optimizer else 0,
        host_optimizer=optimizer + sub_group if train.offload_optimizer else 0,
    )


def checkpoint_bytes(shape: ModelShape, train: Train) -> int:
    """Return the size of a checkpoint, over all ranks: the weights, and the states of the optimiser.

    Under ZeRO 3 DeepSpeed saves the fp32 weights of the optimiser only.
    """
    weights = 0 if train.zero_stage == 3 else element_bytes(train)
    masters = 0 if train.zero_stage == 0 and train.precision == "fp32" else FP32
    return shape.parameters * (weights + masters + MOMENTS)
