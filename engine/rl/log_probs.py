"""Log-probabilities of tokens from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.rl.chunked_softmax import CHUNK_ELEMENTS, softmax_statistics
from engine.rl.masking import masked_sum, require_same_shape


def log_probs(
    logits: Tensor, tokens: Tensor, *, temperature: float = 1.0, chunk_elements: int = CHUNK_ELEMENTS
) -> Tensor:
    """Return log softmax(logits / temperature)[token]: [...], nats, float32 (float64 for float64 logits).

    `logits` is [..., vocabulary], `tokens` int64 [...]: the token that each position predicts. The actor that trains,
    the policy that sampled and the reference are all scored at the temperature that sampled: another one scores
    distributions that nothing was drawn from, and the divergence may turn negative.

    Raises:
        InvalidInput: the temperature is not above 0.
        ValueError: the shapes do not fit.
    """
    result, _ = softmax_statistics(
        logits, tokens, with_entropy=False, temperature=temperature, chunk_elements=chunk_elements
    )
    assert result is not None
    return result


def next_token_log_probs(
    logits: Tensor, input_ids: Tensor, *, temperature: float = 1.0, chunk_elements: int = CHUNK_ELEMENTS
) -> Tensor:
    """Return the log-probability of each token but the first, given those before it: [batch, length − 1], nats.

    `logits` is [batch, length, vocabulary] as a causal model returns it for `input_ids`, int64 [batch, length].
    Column t scores token t + 1, so that a response behind a prompt of n tokens starts at column n − 1.

    Raises:
        InvalidInput: the temperature is not above 0.
        ValueError: the shapes do not fit.
    """
    # Scoring a token too many in the last column spares a copy of the logits.
    predicted = torch.roll(input_ids, -1, dims=-1)
    return log_probs(logits, predicted, temperature=temperature, chunk_elements=chunk_elements)[:, :-1]


def log_probs_and_entropy(
    logits: Tensor, tokens: Tensor, *, temperature: float = 1.0, chunk_elements: int = CHUNK_ELEMENTS
) -> tuple[Tensor, Tensor]:
    """Return `log_probs` and `entropy.entropy` of the same logits in one pass over them.

    Raises:
        InvalidInput: the temperature is not above 0.
        ValueError: the shapes do not fit.
    """
    result, spread = softmax_statistics(
        logits, tokens, with_entropy=True, temperature=temperature, chunk_elements=chunk_elements
    )
    assert result is not None and spread is not None
    return result, spread


def log_prob_gap(log_probs: Tensor, sampler_log_probs: Tensor, response_mask: Tensor) -> Tensor:
    """Return Σ |log-probability of the trainer − that of the sampler| over response tokens: a scalar, nats.

    All three are [batch, length]. The mean over tokens tells whether what generates is what trains; above 0.01
    something is wrong.
    """
    require_same_shape(log_probs=log_probs, sampler_log_probs=sampler_log_probs, response_mask=response_mask)
    return masked_sum((log_probs - sampler_log_probs).detach().abs(), response_mask)
