"""A causal language model whose every probability is written down: what comes next depends on the last token alone.

Its tokens are whole lines. A question is a line, so is an answer, and a passage before the question is another one,
which it does not look at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

END = "</s>"
_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
)
# Of all lines together that a row of the table does not name.
_REST = 1e-9


def make_model(folder: Path, table: Mapping[str, Mapping[str, float]]) -> Path:
    """Write a model folder. table: for a line, the probability of each line after it, or of the end; they sum to 1."""
    lines = dict.fromkeys(["<unk>", "<pad>", END, *table, *(line for row in table.values() for line in row)])
    vocabulary = {line: number for number, line in enumerate(lines)}
    # The head of attention is as wide as the model, and must be even.
    size, width = len(vocabulary), 2 * math.ceil(len(vocabulary) / 2)
    folder.mkdir()
    _write_tokenizer(folder, vocabulary)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": width,
        "intermediate_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-12,
        "tie_word_embeddings": False,
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary["<pad>"],
        "bos_token_id": None,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    # A token is a direction of its own, of length √width after the norm; attention and MLP add nothing to it.
    following = np.full((size, size), _REST / size)
    for line, place in vocabulary.items():
        for after, probability in table.get(line, {END: 1.0}).items():
            following[place, vocabulary[after]] = max(probability, _REST / size)
    head = np.zeros((size, width))
    head[:, :size] = np.log(following).T / math.sqrt(width)
    zeros = {
        **{f"self_attn.{name}_proj": (width, width) for name in "qkvo"},
        "mlp.gate_proj": (4, width),
        "mlp.up_proj": (4, width),
        "mlp.down_proj": (width, 4),
    }
    weights = {
        "model.embed_tokens.weight": np.eye(size, width),
        "lm_head.weight": head,
        "model.norm.weight": np.ones(width),
        "model.layers.0.input_layernorm.weight": np.ones(width),
        "model.layers.0.post_attention_layernorm.weight": np.ones(width),
        **{f"model.layers.0.{name}.weight": np.zeros(shape) for name, shape in zeros.items()},
    }
    save_file({name: value.astype(np.float32) for name, value in weights.items()}, folder / "model.safetensors")
    return folder


def _write_tokenizer(folder: Path, vocabulary: Mapping[str, int]) -> None:
    tokenizer = Tokenizer(models.WordLevel(dict(vocabulary), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", behavior="removed")
    tokenizer.add_special_tokens(["<unk>", "<pad>", END])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "eos_token": END,
        "chat_template": _TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
