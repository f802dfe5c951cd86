"""Bytes of a rollout: the static cache of keys and values, what drawing a token takes, and the first forward pass."""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan.activations import Load, forward_bytes
from engine.plan.networks import Network
from engine.plan.shape import ModelShape
from engine.plan.states import FP32, element_bytes

# Of each logit while a token is drawn: its log-probability in float32, and two steps of the distribution function in
# float64 (engine/generate/sampling.py).
_DRAWN = FP32 + 2 * 8


@dataclass(frozen=True, slots=True)
class Decoding:
    """What a rank writes at once."""

    sequences: int
    prompt: int  # tokens of the longest prompt
    response: int  # tokens of the longest response


def cache_bytes(shape: ModelShape, precision: str, *, sequences: int, length: int) -> int:
    """Return the static cache: keys and values of all layers at `length` positions of each sequence."""
    return 2 * shape.layers * shape.key_value * element_bytes(precision) * sequences * length


def generation_bytes(network: Network, precision: str, decoding: Decoding) -> int:
    """Return what a rank needs to write answers, besides the weights."""
    shape, width = network.shape, element_bytes(precision)
    rows, length = decoding.sequences, decoding.prompt + decoding.response
    cache = cache_bytes(shape, precision, sequences=rows, length=length)
    drawing = rows * shape.vocabulary * (width + _DRAWN)
    # Prompts are padded on the left, so their forward pass has a mask over prompt and cache; it gives one column of
    # logits.
    mask = rows * decoding.prompt * length * (1 + width)
    reading = forward_bytes(network, precision, Load(rows, decoding.prompt, predicting=1)) + mask
    return cache + max(drawing, reading)
