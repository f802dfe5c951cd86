"""Bytes of activations that a training step keeps for its backward pass, and of the logits.

Counted from the operations of the models in transformers 5, with an attention kernel that keeps no [length, length]
matrix (SDPA); tests/plan/test_activations.py measures them.
"""

from __future__ import annotations

from engine.plan.shape import ModelShape
from engine.plan.states import FP32, element_bytes
from engine.spec.sections import Train

# Elements of the logits that engine/train/loss.py has in float32 at once, and how many such pieces it holds.
_CHUNK_ELEMENTS = 1 << 24
_CHUNKS = 3


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


def kept_bytes(shape: ModelShape, train: Train, *, rows: int, length: int) -> int:
    """Return what autograd keeps for the backward pass of one micro-batch, without the logits.

    rows, length: of the micro-batch, tokens.
    """
    tokens, width = rows * length, element_bytes(train)
    if train.gradient_checkpointing:
        layers = shape.layers * tokens * shape.hidden * width
    else:
        layers = shape.layers * layer_bytes(shape, tokens, width)
    # the last norm, and the columns that carry loss
    return layers + tokens * shape.hidden * ((FP32 if shape.rms_norm else 0) + 3 * width)


def logits_bytes(shape: ModelShape, train: Train, *, rows: int, length: int) -> int:
    """Return the logits of one micro-batch, were loss on all of its tokens; without loss on a column it has none."""
    return rows * length * shape.vocabulary * element_bytes(train)


def activation_bytes(shape: ModelShape, train: Train, *, rows: int, length: int, packing: bool = False) -> int:
    """Return the most memory that activations take, at the start or inside of the backward pass.

    Args:
        shape: the model.
        train: precision and gradient checkpointing.
        rows: of the micro-batch.
        length: tokens of a row.
        packing: whether rows hold several examples, which needs a mask.
    """
    tokens, width = rows * length, element_bytes(train)
    logits = logits_bytes(shape, train, rows=rows, length=length)
    pieces = _CHUNKS * FP32 * min(tokens * shape.vocabulary, max(_CHUNK_ELEMENTS, shape.vocabulary))
    of_loss = 2 * logits + pieces  # the logits and their gradient
    of_layer = tokens * (3 * shape.intermediate + 4 * shape.hidden) * width  # gradients inside a layer
    if train.gradient_checkpointing:
        of_layer += layer_bytes(shape, tokens, width)
    mask = rows * length * length * (1 + width) if packing else 0
    return kept_bytes(shape, train, rows=rows, length=length) + max(of_loss, of_layer) + mask
