"""What share of the GPUs' arithmetic a step used: model FLOPs utilisation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from engine.errors import PlumblineError
from engine.job.runtime import Runtime
from engine.plan.networks import Network
from engine.plan.operations import forward_operations, training_operations
from engine.plan.peaks import peak_operations
from engine.plan.place import DEFAULT_GPU, Place
from engine.plan.reading import plan_run
from engine.spec.models import TrainedSpec

# Networks of PPO, as its plan calls them.
POLICY, CRITIC, REFERENCE = "policy", "critic", "reference"
MODEL = "model"  # of the other kinds


@dataclass(frozen=True, slots=True)
class Pass:
    """Sequences that went through a network, those of all ranks; pads are not counted."""

    network: str  # as the plan of a run calls it: "model", "policy", "rewards.NAME"
    lengths: Sequence[int]  # tokens of each
    trains: bool = False  # there and back


@dataclass(frozen=True, slots=True)
class Utilisation:
    """The networks of a run, and the GPUs that compute them."""

    networks: Mapping[str, Network]
    peak: float  # operations a second, of all ranks

    def share(self, passes: Iterable[Pass], seconds: float) -> float | None:
        """Return the share of the peak, 0 to 1, that the passes of a step used; None if one cannot be counted."""
        operations = 0.0
        for one in passes:
            network = self.networks.get(one.network)
            if network is None:
                return None
            operations += (training_operations if one.trains else forward_operations)(network, one.lengths)
        return operations / (seconds * self.peak) if operations and seconds > 0.0 else None


def utilisation_of(spec: TrainedSpec, ranks: Runtime, *, vocabulary: int | None = None) -> Utilisation | None:
    """Return how to measure it; None where no peak of the GPUs is known, or no shape of a network.

    Called by all ranks together.

    vocabulary: tokens of a model from scratch.
    """
    own = device_peak(ranks.device, spec.train.precision)
    (peak,) = ranks.sum(math.nan if own is None else own)
    networks = None if math.isnan(peak) else counted_networks(spec, vocabulary=vocabulary)
    return None if networks is None else Utilisation(networks, peak)


def device_peak(device: torch.device, precision: str) -> float | None:
    """Return the most operations a second of a device; None if it is not known, as of a CPU."""
    return peak_operations(torch.cuda.get_device_name(device), precision) if device.type == "cuda" else None


def counted_networks(spec: TrainedSpec, *, vocabulary: int | None = None) -> dict[str, Network] | None:
    """Return the networks of a run by role; None if the weights of one are only estimated, or cannot be."""
    try:
        roles = plan_run(spec, Place((1,), DEFAULT_GPU)).roles
    except PlumblineError:
        return None  # what cannot be planned may yet run
    networks = {role.name: role.network for role in roles}
    if not all(network.shape.exact for network in networks.values()):
        return None
    if spec.model.architecture is not None and vocabulary is not None:
        networks = {
            name: replace(network, shape=replace(network.shape, vocabulary=vocabulary))
            for name, network in networks.items()
        }
    if POLICY in networks:
        # A policy with adapters is its own reference, without them.
        networks.setdefault(REFERENCE, replace(networks[POLICY], lora=None, frozen=True))
    return networks
