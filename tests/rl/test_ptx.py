"""The pretraining term is the negative log-likelihood of text."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from engine.rl.ptx import ptx_loss


def test_it_is_the_cross_entropy_of_the_tokens_that_count() -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 7, generator=source, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(7, (3, 6), generator=source)
    mask = torch.rand(3, 6, generator=source) < 0.6
    mask[:, 0] = True  # nothing stands before it, so it cannot count
    labels = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
    expected = cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), reduction="sum")
    loss = ptx_loss(logits, ids, mask, chunk_elements=20)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(one, logits, retain_graph=True)[0] for one in (loss, expected)]
    torch.testing.assert_close(*gradients)
