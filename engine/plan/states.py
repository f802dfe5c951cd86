"""Bytes of weights, gradients and optimiser states a rank, as DeepSpeed 0.19 allocates them for our configuration.

After Rajbhandari et al. 2020 (ZeRO), and what DeepSpeed does beyond the paper, measured: tests/plan/test_states.py
counts the tensors of running engines. Partitions are rounded up to whole elements; DeepSpeed pads a little more.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan.networks import Network, Sharding

# DeepSpeed's own settings, which engine/train/deepspeed_config.py leaves alone; elements.
REDUCE_BUCKET = 500_000_000
MAX_LIVE_PARAMETERS = 1_000_000_000
SUB_GROUP = 1_000_000_000
# Between host memory and a disk: buffers of so many elements for parameters, and so many sub-groups of the optimiser.
_PARAMETER_BUFFERS, _OPTIMIZER_BUFFERS = 5 * 100_000_000, 4

FP32 = 4  # bytes
MOMENTS = 2 * FP32


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes of one rank."""

    weights: int
    gradients: int = 0
    optimizer: int = 0
    working: int = 0  # weights that are here while the network computes: gathered, or fetched from the host
    buffers: int = 0  # of the gradient reduction, in the backward pass
    step: int = 0  # temporaries of the optimiser step, when the activations are gone
    lasting_buffers: int = 0  # the part of `buffers` that always stays
    host_weights: int = 0  # offloaded, as the two below
    host_gradients: int = 0
    host_optimizer: int = 0
    disk: int = 0  # offloaded to a local disk

    @property
    def host(self) -> int:
        """All that is offloaded to host memory."""
        return self.host_weights + self.host_gradients + self.host_optimizer


def element_bytes(precision: str) -> int:
    """Return the bytes of one weight in the forward pass."""
    return FP32 if precision == "fp32" else 2


def state_bytes(
    network: Network, sharding: Sharding, *, precision: str, ranks: int, micro_steps: int, on_cpu: bool = False
) -> StateBytes:
    """Return what a rank holds.

    Args:
        network: what trains of it has gradients and optimiser states.
        sharding: ZeRO stage and offload.
        precision: of the run.
        ranks: of the run.
        micro_steps: forward passes of an optimiser step.
        on_cpu: whether the rank computes on a CPU, where memory that is never written is never taken.
    """
    width = element_bytes(precision)
    if network.frozen:
        return _frozen(network, sharding, width, ranks, on_cpu=on_cpu)
    if sharding.zero_stage == 3:
        return _partitioned(network, sharding, width, ranks, on_cpu=on_cpu)
    whole, trains = width * network.own, network.trainable
    part = -(-trains // ranks)
    bucket = min(trains, REDUCE_BUCKET)
    bucket_buffer = bucket if on_cpu else REDUCE_BUCKET
    half = precision != "fp32"
    stage = sharding.zero_stage
    if stage == 0:
        return StateBytes(
            weights=whole,
            gradients=width * trains,
            optimizer=(MOMENTS + FP32 * half) * trains,
            buffers=width * bucket if ranks > 1 else 0,
            step=(FP32 + FP32 * half) * trains,  # AdamW's square roots; gradients in fp32
        )
    optimizer = (FP32 + MOMENTS) * part  # the partition of the fp32 weights is a copy even of fp32 weights
    if stage == 1 and precision == "bf16" and not sharding.offload_optimizer:
        return StateBytes(
            weights=whole,
            gradients=(width + FP32) * trains,  # the fp32 sums are not partitioned
            optimizer=optimizer,
            buffers=FP32 * bucket if ranks > 1 else 0,
            step=FP32 * part,
        )
    largest = width * network.largest  # the gradient that waits to be reduced
    gradients = FP32 * (trains if stage == 1 else part)
    buffers = (FP32 if stage == 1 else width) * bucket_buffer + largest
    if sharding.offload_optimizer:
        # On the host the gradient stands in fp32 for the optimiser, once more as the sum of the micro-steps, and
        # there is a copy of the weights' partition.
        return StateBytes(
            weights=whole,
            gradients=gradients if stage == 1 else 0,
            buffers=buffers + 2 * largest,
            lasting_buffers=2 * largest,
            host_weights=width * part,
            host_gradients=FP32 * part * (2 if micro_steps > 1 else 1),
            host_optimizer=optimizer + FP32 * part,
        )
    return StateBytes(
        weights=whole,
        gradients=gradients,
        optimizer=optimizer,
        buffers=buffers,
        # The flat gradient, AdamW's square roots. One follows upon the other, yet the allocator takes new room for
        # each: on an H200 tensors held 4 bytes a parameter less than this, and the allocator as much as this.
        step=2 * FP32 * part,
    )


def _partitioned(network: Network, sharding: Sharding, width: int, ranks: int, *, on_cpu: bool) -> StateBytes:
    """Return what a rank holds under ZeRO 3."""
    weights = width * -(-network.own // ranks)
    part = -(-network.trainable // ranks)
    bucket = min(network.trainable, REDUCE_BUCKET)
    lasting = width * (bucket if on_cpu else REDUCE_BUCKET)
    sub_group = FP32 * min(part, SUB_GROUP)
    optimizer = (FP32 + MOMENTS) * part
    off = sharding.offload_optimizer
    host_weights = weights if sharding.offload_parameters else 0
    host_gradients = 2 * FP32 * part if off else 0
    host_optimizer = optimizer + sub_group if off else 0
    disk = 0
    if sharding.nvme:
        disk = host_weights + host_gradients + host_optimizer
        host_weights, host_gradients = width * _PARAMETER_BUFFERS if sharding.offload_parameters else 0, 0
        host_optimizer = _OPTIMIZER_BUFFERS * sub_group if off else 0
    return StateBytes(
        weights=0 if sharding.offload_parameters else weights,
        gradients=0 if off else FP32 * part,
        optimizer=0 if off else optimizer,
        working=_gathered(network, width, ranks),
        buffers=lasting + width * bucket + width * network.largest,  # the bucket is copied to be scattered
        step=0 if off else 2 * sub_group,
        lasting_buffers=lasting,
        host_weights=host_weights,
        host_gradients=host_gradients,
        host_optimizer=host_optimizer,
        disk=disk,
    )


def _gathered(network: Network, width: int, ranks: int) -> int:
    return width * min(network.parameters, MAX_LIVE_PARAMETERS) if ranks > 1 else 0


def _frozen(network: Network, sharding: Sharding, width: int, ranks: int, *, on_cpu: bool) -> StateBytes:
    """Return what a rank holds of a network that only scores."""
    waits = sharding.offload_parameters
    if sharding.zero_stage == 3:
        part, gathered = width * -(-network.own // ranks), _gathered(network, width, ranks)
        if waits and sharding.nvme:
            return StateBytes(weights=0, working=gathered, host_weights=width * _PARAMETER_BUFFERS, disk=part)
        return StateBytes(weights=0 if waits else part, working=gathered, host_weights=part if waits else 0)
    whole = width * network.own
    if waits and not on_cpu:
        return StateBytes(weights=0, working=whole, host_weights=whole)
    return StateBytes(weights=whole)


def average_bytes(network: Network, sharding: Sharding, *, ranks: int) -> int:
    """Return the bytes of the moving average that a rank keeps in host memory of what trains."""
    return FP32 * (-(-network.trainable // ranks) if sharding.zero_stage == 3 else network.trainable)


def checkpoint_bytes(network: Network, sharding: Sharding, precision: str) -> int:
    """Return the size of a checkpoint, over all ranks: the weights, and the states of the optimiser.

    Under ZeRO 3 DeepSpeed saves the fp32 weights of the optimiser only, and what is frozen as it is.
    """
    width, trains = element_bytes(precision), network.trainable
    weights = width * (network.own - trains if sharding.zero_stage == 3 else network.own)
    masters = 0 if sharding.zero_stage == 0 and precision == "fp32" else FP32
    return weights + trains * (masters + MOMENTS)
