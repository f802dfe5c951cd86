"""A causal language model whose every probability is written down: what comes next depends on the last token alone.

Its tokens are whole lines. A question is a line, so is an answer, and a passage before the question is another one,
which it does not look at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

END = "</s>"
_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
)
# Of all lines together that a row of the table does not name.
_REST = 1e-9


def make_model(folder: Path, table: Mapping[str, Mapping[str, float]]) -> Path:
    """Write a model folder. table: for a line, the probability of each line after it, or of the end; they sum to 1."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    lines = dict.fromkeys(["<unk>", "<pad>", END, *table, *(line for row in table.values() for line in row)])
    vocabulary = {line: number for number, line in enumerate(lines)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", behavior="removed")
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token=END,
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    width = 2 * math.ceil(len(vocabulary) / 2)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=width,
            intermediate_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=32,
            rms_norm_eps=1e-12,
            tie_word_embeddings=False,
            eos_token_id=vocabulary[END],
            pad_token_id=vocabulary["<pad>"],
            bos_token_id=None,
        )
    )
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "norm" not in name:
                weight.zero_()
        # A token is a direction of its own, of length √width after the norm; attention and MLP add nothing to it.
        network.model.embed_tokens.weight[:, : len(vocabulary)] = torch.eye(len(vocabulary))
        for line, number in vocabulary.items():
            told = table.get(line, {END: 1.0})
            rest = _REST / len(vocabulary)
            for following, place in vocabulary.items():
                probability = max(told.get(following, 0.0), rest)
                network.lm_head.weight[place, number] = math.log(probability) / math.sqrt(width)
    network.save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder
