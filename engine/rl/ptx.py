"""The pretraining term that InstructGPT mixes into PPO, against forgetting."""

from __future__ import annotations

from torch import Tensor

from engine.rl.chunked_softmax import CHUNK_ELEMENTS
from engine.rl.log_probs import next_token_log_probs
from engine.rl.masking import masked_sum


def ptx_loss(logits: Tensor, input_ids: Tensor, loss_mask: Tensor, *, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """Return Σ −log π(token | tokens before it) over the tokens with a true mask: a scalar, nats, at temperature 1.

    Arguments:
        logits: [batch, length, vocabulary], of the policy on text that nothing was sampled from.
        input_ids: int64 [batch, length].
        loss_mask: bool [batch, length], true at the tokens that count; false at the first token of each text, which has
            none before it but perhaps pads.

    Divide by the global number of *its own* tokens, then weigh it (27.8 in Ouyang et al. 2022, eq. 2) and add it to the
    policy loss: that is normalised by response tokens, of which there are more or fewer.

    Raises:
        ValueError: the shapes do not fit.
    """
    log_probs = next_token_log_probs(logits, input_ids, chunk_elements=chunk_elements)
    return -masked_sum(log_probs, loss_mask[:, 1:])
