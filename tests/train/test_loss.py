"""The loss against its definition, on a real small Llama."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from engine.generate.sampling import takes_logits_to_keep
from engine.train import loss as loss_module
from engine.train.batches import IGNORED, MicroBatch, Row, collate
from engine.train.loss import summed_loss

VOCABULARY, PAD = 37, 0
ROWS = [
    Row.of([3, 4, 5, 6, 7, 8, 9], [False, False, False, True, True, True, True]),
    Row.of([9, 8, 7], [False, True, True]),
    Row.of([11, 12, 13, 14, 15], [False] * 5),
]


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config)


@pytest.fixture(params=[1 << 24, VOCABULARY * 2], ids=["one chunk", "chunks of two rows"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loss_module, "_CHUNK_ELEMENTS", request.param)
    yield


def batch_of(*rows: Row) -> MicroBatch:
    return collate(rows, PAD, torch.device("cpu"))


def gradients(model: LlamaForCausalLM, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def by_definition(model: LlamaForCausalLM, rows: list[Row]) -> torch.Tensor:
    """−Σ log softmax(logits)[label], each row alone and unpadded."""
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        logits = model(input_ids=row.input_ids[None].long()).logits[0].double()
        labels = row.labels.long()
        total = total + functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("keep_logits", [False, True])
def test_value_and_gradients_equal_the_definition(model: LlamaForCausalLM, keep_logits: bool) -> None:
    assert takes_logits_to_keep(model)
    loss = summed_loss(model, batch_of(*ROWS), keep_logits=keep_logits)
    expected = by_definition(model, ROWS)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for ours, theirs in zip(gradients(model, loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_masked_tokens_do_not_change_the_loss_except_as_context(model: LlamaForCausalLM) -> None:
    row = Row.of([3, 4, 5, 6], [False, True, False, False])
    other_tail = Row.of([3, 4, 20, 21], [False, True, False, False])
    one = summed_loss(model, batch_of(row), keep_logits=True)
    assert float(one) == pytest.approx(float(summed_loss(model, batch_of(other_tail), keep_logits=True)), rel=1e-6)


def test_packed_examples_do_not_see_each_other(model: LlamaForCausalLM) -> None:
    first, second = ROWS[0], ROWS[1]
    packed = Row.of(
        [3, 4, 5, 6, 7, 8, 9, 9, 8, 7],
        [False, False, False, True, True, True, True, True, True, True],
        [0, 1, 2, 3, 4, 5, 6, 0, 1, 2],
    )
    apart = by_definition(model, [first, second])
    together = summed_loss(model, batch_of(packed, ROWS[2]), keep_logits=True)
    assert packed.loss_tokens == first.loss_tokens + second.loss_tokens
    assert float(together) == pytest.approx(float(apart), rel=1e-6)


def test_a_batch_without_loss_is_zero_with_zero_gradients(model: LlamaForCausalLM) -> None:
    for rows in ([], [ROWS[2]]):
        loss = summed_loss(model, batch_of(*rows), keep_logits=True)
        assert float(loss) == 0.0
        assert all((gradient == 0).all() for gradient in gradients(model, loss))
