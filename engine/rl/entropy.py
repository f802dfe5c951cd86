"""Entropy of the policy at each position."""

from __future__ import annotations

from torch import Tensor

from engine.rl.chunked_softmax import CHUNK_ELEMENTS, softmax_statistics


def entropy(logits: Tensor, *, temperature: float = 1.0, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """Return −Σ p log p of p = softmax(logits / temperature): [...], nats, float32 (float64 for float64 logits).

    `logits` is [..., vocabulary]; tokens that a logit of −inf forbids add nothing. With its gradient it can be a bonus:
    subtract coefficient · masked_sum(entropy, response_mask) from the loss. `log_probs.log_probs_and_entropy` shares
    the pass over the logits.

    Raises:
        InvalidInput: the temperature is not above 0.
    """
    _, result = softmax_statistics(
        logits, None, with_entropy=True, temperature=temperature, chunk_elements=chunk_elements
    )
    assert result is not None
    return result
