"""Log-probability and entropy of rows of logits, without a second [rows, vocabulary] tensor in float32.

DeepSpeed's chunked cross entropy keeps the same bound, but it knows neither temperature nor entropy nor float64, and
dividing bfloat16 logits by a temperature before it rounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from engine.errors import InvalidInput

# Elements of [rows, vocabulary] that are held in float32 at once: 64 MiB a tensor, and at most two of them.
CHUNK_ELEMENTS = 1 << 24


def softmax_statistics(
    logits: Tensor, tokens: Tensor | None, *, with_entropy: bool, temperature: float, chunk_elements: int
) -> tuple[Tensor | None, Tensor | None]:
    """Return log p(token) and the entropy of p = softmax(logits / temperature), each [...], in nats.

    Arguments:
        logits: [..., vocabulary], in any floating type. A logit may be −inf.
        tokens: int64 [...], each in the vocabulary; None: no log-probability is wanted.
        with_entropy: whether the entropy is wanted.
        temperature: the one that sampled.
        chunk_elements: elements of [rows, vocabulary] that are widened at once; at least one row is.

    The arithmetic is float32, or float64 for float64 logits. Forward and backward go over the rows in chunks; the
    backward pass makes one more tensor like the logits, in their own type. It has no second derivative.

    Raises:
        InvalidInput: the temperature is not above 0.
        ValueError: the shapes do not fit.
    """
    if not temperature > 0:
        raise InvalidInput(f"temperature {temperature} is not above 0", hint="Log-probabilities need a temperature.")
    if tokens is not None and tokens.shape != logits.shape[:-1]:
        raise ValueError(f"tokens {tuple(tokens.shape)} do not fit logits {tuple(logits.shape)}")
    shape, vocabulary = logits.shape[:-1], logits.shape[-1]
    # A slice of [batch, length, vocabulary] stays a view; only other strides are copied.
    stacked = logits if logits.dim() == 3 and not logits.is_contiguous() else logits.reshape(1, -1, vocabulary)
    if tokens is not None:
        tokens = tokens.reshape(stacked.shape[:-1])
    rows = max(1, chunk_elements // vocabulary)
    apply: Callable[..., tuple[Tensor | None, Tensor | None]] = _SoftmaxStatistics.apply
    log_probs, entropy = apply(stacked, tokens, _Settings(with_entropy, temperature, rows))
    return (
        None if log_probs is None else log_probs.reshape(shape),
        None if entropy is None else entropy.reshape(shape),
    )


@dataclass(frozen=True, slots=True)
class _Settings:
    with_entropy: bool
    temperature: float
    rows: int  # of a chunk


class _SoftmaxStatistics(torch.autograd.Function):
    """Saves the logits as they are and three numbers a row; the backward pass makes the softmax anew.

    With g for a gradient that comes in: ∂/∂z_j = (g_logp·(1[j = token] − p_j) − g_H·p_j·(log p_j + H)) / temperature.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor | None, settings: _Settings
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.set_materialize_grads(False)
        wide = torch.promote_types(logits.dtype, torch.float32)
        # log p = z − peak − log_norm in two steps: their sum would round away digits of large logits.
        peak, log_norm, log_probs, entropy = (
            torch.empty(logits.shape[:-1], dtype=wide, device=logits.device) for _ in range(4)
        )
        for block in _blocks(logits, settings.rows):
            scaled = _widened(logits[block], settings.temperature)
            peak[block] = scaled.amax(dim=-1)
            scaled.sub_(peak[block].unsqueeze(-1))
            log_norm[block] = scaled.exp().sum(dim=-1).log()
            if tokens is not None:
                log_probs[block] = scaled.gather(-1, tokens[block].unsqueeze(-1)).squeeze(-1) - log_norm[block]
            if settings.with_entropy:
                probabilities = scaled.sub_(log_norm[block].unsqueeze(-1)).exp_()
                entropy[block] = torch.special.entr(probabilities).sum(dim=-1)
        ctx.save_for_backward(logits, tokens, peak, log_norm, entropy)
        ctx.settings = settings
        return log_probs if tokens is not None else None, entropy if settings.with_entropy else None

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_log_probs: Tensor | None, grad_entropy: Tensor | None
    ) -> tuple[Tensor | None, None, None]:
        if grad_log_probs is None and grad_entropy is None:
            return None, None, None
        settings: _Settings = ctx.settings
        logits, tokens, peak, log_norm, entropy = ctx.saved_tensors
        nothing = torch.zeros_like(peak)
        to_log_prob = nothing if grad_log_probs is None else grad_log_probs / settings.temperature
        to_entropy = nothing if grad_entropy is None else grad_entropy / settings.temperature
        grad_logits = torch.empty_like(logits)
        for block in _blocks(logits, settings.rows):
            by_log_prob, by_entropy = to_log_prob[block].unsqueeze(-1), to_entropy[block].unsqueeze(-1)
            gradient = _widened(logits[block], settings.temperature)
            gradient.sub_(peak[block].unsqueeze(-1)).sub_(log_norm[block].unsqueeze(-1)).exp_()
            if grad_entropy is None:
                gradient.mul_(-by_log_prob)
            else:
                surprise = torch.special.entr(gradient).mul_(by_entropy)  # −p log p, which is 0 at p = 0
                gradient.mul_(-by_log_prob - by_entropy * entropy[block].unsqueeze(-1)).add_(surprise)
            if grad_log_probs is not None:
                gradient.scatter_add_(-1, tokens[block].unsqueeze(-1), by_log_prob)
            # A row that nothing asks about may hold NaN, which would survive a product with 0.
            gradient.masked_fill_((by_log_prob == 0) & (by_entropy == 0), 0)
            grad_logits[block] = gradient
        return grad_logits, None, None


def _blocks(logits: Tensor, rows: int) -> Iterator[tuple[int, slice]]:
    for index in range(logits.shape[0]):
        for start in range(0, logits.shape[1], rows):
            yield index, slice(start, start + rows)


def _widened(block: Tensor, temperature: float) -> Tensor:
    """Return a copy that may be written to, divided by the temperature after it was widened."""
    return block.to(torch.promote_types(block.dtype, torch.float32), copy=True).div_(temperature)
