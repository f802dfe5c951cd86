"""The language-model loss, normalised so that it does not depend on ranks or micro-batches."""

from __future__ import annotations

from typing import Any

from deepspeed.runtime.chunked_cross_entropy import chunked_cross_entropy
from torch import Tensor

from engine.train.batches import IGNORED, MicroBatch

# Elements of [rows, vocabulary] that are held in float32 at once: 64 MiB.
_CHUNK_ELEMENTS = 1 << 24


def summed_loss(engine: Any, batch: MicroBatch, *, keep_logits: bool) -> Tensor:
    """Return Σ −log p(label) over the loss tokens of a micro-batch: a float32 scalar, 0 if it has none.

    `engine` is a causal language model or the DeepSpeed engine around one. With `keep_logits` it computes logits only
    in the columns where some row has a label. No [batch, length, vocabulary] tensor is made in float32 beyond the
    logits themselves: the log-softmax goes over them in chunks of rows, forward and backward.
    """
    labels = batch.labels
    arguments: dict[str, Any] = {}
    if keep_logits:
        columns = (labels != IGNORED).any(dim=0)
        columns[-1] |= ~columns.any()  # a batch without loss keeps one column, so that every rank runs the same graph
        kept = columns.nonzero().flatten()
        labels = labels.index_select(1, kept)
        arguments["logits_to_keep"] = kept
    # Causal attention never looks right, where the pads are, so no mask is needed; positions that start again at 0
    # mark the borders between packed examples.
    logits = engine(
        input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, return_dict=True, **arguments
    ).logits
    rows = logits.flatten(0, 1)
    chunk = max(1, _CHUNK_ELEMENTS // rows.shape[-1])
    return chunked_cross_entropy(
        rows,
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        block_rows=chunk,
        backend="torch",  # the other one compiles a kernel, which needs a C compiler on each node
    )
