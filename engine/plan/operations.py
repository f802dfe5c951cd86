"""The arithmetic of a model, as model FLOPs utilisation counts it (Chowdhery et al. 2022, arXiv 2204.02311, part B).

A multiplication and an addition are two operations. A token that goes forward through a weight takes 2, and its
backward pass 4: 2 for the gradient of what came in, 2 for that of the weight, which a frozen weight has none of. So N
weights that train take 6·N a token, and N frozen ones under adapters 4·N. Attention takes 12·L·H·Q·T a token of a
sequence of T, a third of it forward; as in the paper no causal mask is taken off. What is computed twice to save
memory does not count, nor do pads: utilisation is of what the model needs.
"""

from __future__ import annotations

from collections.abc import Iterable

from engine.plan.networks import Network
from engine.plan.shape import ModelShape


def multiplied(shape: ModelShape) -> int:
    """Return the weights of its matrices that each token is multiplied with, those of the head included.

    Input embeddings are looked up and not multiplied with; norms and biases are too few to count.
    """
    blocks = sum(linear.inputs * linear.outputs * linear.copies for linear in shape.linears)
    return blocks + shape.outputs * shape.hidden


def forward_operations(network: Network, lengths: Iterable[int]) -> float:
    """Return the operations of a forward pass over whole sequences.

    Writing an answer takes as many as reading prompt and answer: each token goes through the network once.

    Args:
        network: what they go through.
        lengths: tokens of each sequence.
    """
    tokens, squares = _sums(lengths)
    shape = network.shape
    return 2.0 * (multiplied(shape) + network.adapters) * tokens + _attention(shape) * squares


def training_operations(network: Network, lengths: Iterable[int]) -> float:
    """Return the operations of a forward and a backward pass over whole sequences.

    Args:
        network: what they go through; with adapters its own weights get no gradient.
        lengths: tokens of each sequence.
    """
    tokens, squares = _sums(lengths)
    shape = network.shape
    weights = multiplied(shape)
    # Over a frozen base adapters train, and a score head.
    trained = weights if network.lora is None else shape.head
    by_token = 4.0 * weights + 2.0 * trained + 6.0 * network.adapters
    return by_token * tokens + 3.0 * _attention(shape) * squares


def _attention(shape: ModelShape) -> float:
    """Return the operations of attention in a forward pass, for each pair of tokens: queries · keys, and · values."""
    return 4.0 * shape.layers * shape.query


def _sums(lengths: Iterable[int]) -> tuple[float, float]:
    tokens = squares = 0.0
    for length in lengths:
        tokens += length
        squares += length * length
    return tokens, squares
