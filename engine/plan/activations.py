"""Bytes of activations: what a training step keeps for its backward pass, what a forward pass takes, and the logits.

Counted from the operations of the models in transformers 5. Attention kernels keep no [length, length] matrix, but for
the one that is written out (`eager`). tests/plan/test_activations.py measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.plan.networks import Network
from engine.plan.shape import ModelShape
from engine.plan.states import FP32, element_bytes
from engine.spec.sections import Train

# Elements of the logits that engine/train/loss.py has in float32 at once, and how many such pieces it holds.
_CHUNK_ELEMENTS = 1 << 24
_CHUNKS = 3


@dataclass(frozen=True, slots=True)
class Load:
    """What a rank computes at once."""

    rows: int  # of the largest micro-batch
    length: int  # tokens of the longest row
    predicting: int | None = None  # columns of which the head is computed; None: all
    packing: bool = False  # rows hold several examples, which needs a mask
    eager: bool = False  # attention without a kernel: the [length, length] matrices are made

    @property
    def tokens(self) -> int:
        """Of the micro-batch, pads included."""
        return self.rows * self.length

    @property
    def predictions(self) -> int:
        """Tokens of which the head is computed."""
        return self.rows * (self.length if self.predicting is None else min(self.predicting, self.length))


def layer_bytes(shape: ModelShape, tokens: int, width: int) -> int:
    """Return what one layer keeps. width: bytes of an element."""
    norms = 4 * shape.hidden * width  # two outputs of norms, and what stands before their weights, or their inputs
    if shape.rms_norm:
        norms += 2 * shape.hidden * FP32
    attention = (2 * shape.query + 2 * shape.key_value) * width + shape.heads * FP32
    if shape.head_norms:
        attention += (shape.query + shape.key_value) * (FP32 + width)
    if not shape.rms_norm:
        attention += 2 * shape.hidden * width  # dropout masks, or a copy of queries and keys from before their rotation
    mlp = shape.mlp_saves * shape.intermediate * width
    return tokens * (norms + attention + mlp)


def _adapter_bytes(network: Network, tokens: int, width: int) -> int:
    """Return what the adapters of all layers keep: what stands between their factors, and what dropout makes."""
    lora = network.lora
    if lora is None:
        return 0
    between = sum(layer.copies * lora.rank for layer in network.adapted)
    dropped = sum(2 * layer.copies * layer.inputs for layer in network.adapted) if lora.dropout else 0
    return tokens * (between + dropped) * width


def _matrix_bytes(shape: ModelShape, load: Load, width: int) -> int:
    """Return the attention matrices of one layer: softmax in float32, and as it is multiplied with the values."""
    return load.rows * shape.heads * load.length**2 * (FP32 + width) if load.eager else 0


def kept_bytes(network: Network, train: Train, load: Load) -> int:
    """Return what autograd keeps for the backward pass of one micro-batch, without the logits."""
    shape, tokens, width = network.shape, load.tokens, element_bytes(train.precision)
    if train.gradient_checkpointing:
        layers = shape.layers * tokens * shape.hidden * width
    else:
        layers = shape.layers * (layer_bytes(shape, tokens, width) + _matrix_bytes(shape, load, width))
        layers += _adapter_bytes(network, tokens, width)
    # the last norm, and the columns that carry loss
    return layers + tokens * shape.hidden * ((FP32 if shape.rms_norm else 0) + 3 * width)


def logits_bytes(network: Network, train: Train, load: Load) -> int:
    """Return the logits of one micro-batch, or its scores."""
    return load.predictions * network.shape.outputs * element_bytes(train.precision)


def activation_bytes(network: Network, train: Train, load: Load) -> int:
    """Return the most memory that activations take, at the start or inside of the backward pass."""
    shape, tokens, width = network.shape, load.tokens, element_bytes(train.precision)
    of_loss = 2 * logits_bytes(network, train, load) + _pieces(shape, load)  # the logits and their gradient
    of_layer = _inside_layer(shape, tokens, width) + _matrix_bytes(shape, load, width)
    if train.gradient_checkpointing:
        of_layer += layer_bytes(shape, tokens, width)
        of_layer += _adapter_bytes(network, tokens, width) // shape.layers
    return kept_bytes(network, train, load) + max(of_loss, of_layer) + _mask_bytes(load, width)


def forward_bytes(network: Network, precision: str, load: Load) -> int:
    """Return the most memory that a forward pass without gradients takes."""
    shape, width = network.shape, element_bytes(precision)
    logits = load.predictions * shape.outputs * width + _pieces(shape, load)
    inside = _inside_layer(shape, load.tokens, width) + _matrix_bytes(shape, load, width)
    return 2 * load.tokens * shape.hidden * width + max(logits, inside) + _mask_bytes(load, width)


def _inside_layer(shape: ModelShape, tokens: int, width: int) -> int:
    return tokens * (3 * shape.intermediate + 4 * shape.hidden) * width


def _pieces(shape: ModelShape, load: Load) -> int:
    """Return the pieces of logits that are held in float32."""
    return _CHUNKS * FP32 * min(load.predictions * shape.outputs, max(_CHUNK_ELEMENTS, shape.outputs))


def _mask_bytes(load: Load, width: int) -> int:
    return load.rows * load.length**2 * (1 + width) if load.packing else 0
