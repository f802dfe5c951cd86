"""Log-probabilities and entropy against torch's own, in value, gradient and memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from engine.errors import InvalidInput
from engine.rl.entropy import entropy
from engine.rl.log_probs import log_prob_gap, log_probs, log_probs_and_entropy, next_token_log_probs
from engine.rl.masking import masked_sum

VOCABULARY = 11


def rows_of(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = (4.0 * torch.randn(*shape, VOCABULARY, generator=draw, dtype=torch.float64)).to(dtype).requires_grad_()
    return logits, torch.randint(VOCABULARY, shape, generator=draw)


def reference(logits: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    distribution = Categorical(logits=logits.double() / temperature)
    return distribution.log_prob(tokens), distribution.entropy()


@given(
    st.integers(0, 1000), st.sampled_from([(5,), (3, 4), (2, 3, 2), (1, 1)]), st.integers(1, 200), st.floats(0.2, 3.0)
)
@settings(max_examples=40)
def test_values_and_gradients_are_torchs_for_any_chunk(
    seed: int, shape: tuple[int, ...], chunk_elements: int, temperature: float
) -> None:
    logits, tokens = rows_of(seed, *shape)
    weights = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    ours = log_probs_and_entropy(logits, tokens, temperature=temperature, chunk_elements=chunk_elements)
    theirs = reference(logits, tokens, temperature)
    alone = log_probs(logits, tokens, temperature=temperature), entropy(logits, temperature=temperature)
    torch.testing.assert_close(alone, ours, atol=0, rtol=0)
    for one, other, weight in zip(ours, theirs, weights, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
        gradients = [torch.autograd.grad((weight * part).sum(), logits, retain_graph=True)[0] for part in (one, other)]
        torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)
    both = [torch.autograd.grad((weights * torch.stack(pair)).sum(), logits)[0] for pair in (ours, theirs)]
    torch.testing.assert_close(*both, atol=1e-12, rtol=1e-12)


def test_gradients_pass_gradcheck() -> None:
    logits, tokens = rows_of(0, 3, 4)
    assert torch.autograd.gradcheck(lambda z: log_probs(z, tokens, temperature=0.7, chunk_elements=20), logits)
    assert torch.autograd.gradcheck(lambda z: entropy(z, temperature=0.7, chunk_elements=20), logits)
    assert torch.autograd.gradcheck(lambda z: log_probs_and_entropy(z, tokens, chunk_elements=20), logits)


@pytest.mark.parametrize("chunk_elements", [1, 2 * VOCABULARY, 1 << 24])
def test_chunks_change_no_bit(chunk_elements: int) -> None:
    logits, tokens = rows_of(3, 4, 5, dtype=torch.bfloat16)
    whole, parts = (log_probs_and_entropy(logits, tokens, chunk_elements=size) for size in (1 << 24, chunk_elements))
    assert all(torch.equal(one, other) for one, other in zip(whole, parts, strict=True))


def test_bfloat16_logits_are_widened_before_the_temperature_divides_them() -> None:
    logits, tokens = rows_of(1, 6, 7, dtype=torch.bfloat16)
    result, spread = log_probs_and_entropy(logits, tokens, temperature=0.7)
    assert result.dtype == spread.dtype == torch.float32
    expected = reference(logits, tokens, 0.7)
    torch.testing.assert_close(result.double(), expected[0], atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(spread.double(), expected[1], atol=2e-6, rtol=1e-6)
    (result.sum() + spread.sum()).backward()
    assert logits.grad is not None and logits.grad.dtype == torch.bfloat16


def test_large_logits_keep_their_digits() -> None:
    logits = torch.tensor([[1e4, 1e4 - 3.0, 1e4 - 20.0]])
    exact = reference(logits, torch.tensor([1]), 1.0)[0]
    torch.testing.assert_close(log_probs(logits, torch.tensor([1])).double(), exact, atol=1e-6, rtol=0)


def test_a_forbidden_token_adds_no_entropy_and_no_nan() -> None:
    logits = torch.tensor([[1.0, 2.0, -torch.inf]], dtype=torch.float64, requires_grad=True)
    result, spread = log_probs_and_entropy(logits, torch.tensor([0]))
    torch.testing.assert_close(spread, Categorical(logits=logits[:, :2]).entropy())
    (result + spread).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all() and logits.grad[0, 2] == 0


def test_each_token_is_scored_by_the_position_before_it() -> None:
    logits, ids = rows_of(5, 2, 6)
    result = next_token_log_probs(logits, ids, temperature=1.3)
    torch.testing.assert_close(result, reference(logits[:, :-1], ids[:, 1:], 1.3)[0])
    result.sum().backward()
    assert logits.grad is not None and (logits.grad[:, -1] == 0).all()


def test_a_slice_of_the_logits_is_scored_like_its_copy() -> None:
    logits, tokens = rows_of(6, 3, 8)
    part, wanted = logits[:, 2:7], tokens[:, 2:7]
    assert not part.is_contiguous()
    gradients = []
    for version in (part, part.contiguous()):
        result = log_probs(version, wanted, chunk_elements=2 * VOCABULARY)
        torch.testing.assert_close(result, reference(part, wanted, 1.0)[0])
        gradients += torch.autograd.grad(result.square().sum(), logits, retain_graph=True)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("column", [0, -1])
def test_a_row_that_nothing_asks_about_may_hold_nan(column: int) -> None:
    logits, ids = rows_of(7, 2, 4)
    garbage = logits.detach().clone()
    garbage[0, column] = torch.nan
    garbage.requires_grad_()
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[0, column] = False
    for version in (logits, garbage):
        result, spread = log_probs_and_entropy(version, ids)
        masked_sum(result + 0.1 * spread, mask).backward()
    assert logits.grad is not None and garbage.grad is not None
    assert torch.equal(garbage.grad, logits.grad)
    assert (garbage.grad[0, column] == 0).all()


class LargestMade(TorchDispatchMode):
    """Records the elements of the largest tensor that any operation makes, of a type; views of `given` do not count."""

    def __init__(self, given: Tensor, *dtypes: torch.dtype) -> None:
        super().__init__()
        self.elements, self.dtypes, self.given = 0, dtypes, given.untyped_storage().data_ptr()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, Tensor) and item.dtype in self.dtypes:
                made = item.untyped_storage().data_ptr() != self.given
                self.elements = max(self.elements, item.numel() * made)
        return result


def test_no_float32_tensor_is_larger_than_a_chunk() -> None:
    batch, length, vocabulary, chunk = 4, 16, 512, 3 * 512
    logits = torch.randn(batch, length, vocabulary, dtype=torch.bfloat16, requires_grad=True)
    ids = torch.randint(vocabulary, (batch, length))
    with LargestMade(logits, torch.float32) as naive:
        torch.log_softmax(logits.float(), -1).sum().backward()
    assert naive.elements == batch * length * vocabulary
    with LargestMade(logits, torch.float32) as seen:
        next_token_log_probs(logits, ids, temperature=0.7, chunk_elements=chunk).sum().backward()
        sum(log_probs_and_entropy(logits, ids, chunk_elements=chunk)).sum().backward()
        log_probs(logits[:, 3:-1], ids[:, 4:], chunk_elements=chunk).sum().backward()
        entropy(logits, chunk_elements=chunk).sum().backward()
    assert seen.elements == chunk
    with LargestMade(logits, torch.float32, torch.bfloat16) as forward:
        log_probs_and_entropy(logits[:, 3:-1], ids[:, 4:], chunk_elements=chunk)
    assert forward.elements == chunk  # not even a copy in bfloat16


def test_the_gap_counts_response_tokens_only() -> None:
    ours, theirs = torch.tensor([[-1.0, -2.0, torch.nan]]), torch.tensor([[-1.5, -1.75, 3.0]])
    assert log_prob_gap(ours, theirs, torch.tensor([[True, True, False]])).item() == 0.75


def test_what_does_not_fit_is_refused() -> None:
    logits, tokens = rows_of(0, 2, 3)
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="temperature"):
            log_probs(logits, tokens, temperature=temperature)
    with pytest.raises(ValueError, match="do not fit"):
        log_probs(logits, tokens[:1])
