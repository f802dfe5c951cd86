"""A sentence-transformers folder of a few thousand random weights, for tests."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

WORDS = ("river", "tower", "king", "wrote", "founded", "in", "the", "of", "was", "a", "bridge", "city", "not", "poison")


def make_embedder(
    folder: Path,
    *,
    pooling: str | tuple[str, ...] = "mean",
    dense: int | None = None,
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    decoder: bool = False,
    max_tokens: int = 32,
    include_prompt: bool = True,
    seed: int = 0,
) -> Any:
    """Write a two-layer BERT, or Llama, with a tokenizer of its own; return what SentenceTransformer loads of it."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    letters = string.ascii_lowercase + string.digits + string.punctuation
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *WORDS]
    raw = Tokenizer(WordPiece({word: number for number, word in enumerate(entries)}, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = Lowercase(), BertPreTokenizer()
    raw.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=max_tokens, padding_side="left" if decoder else "right", **special
    )
    shape = {
        "vocab_size": len(entries),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "initializer_range": 0.5,
    }
    body = folder.with_name(f"{folder.name}-body")
    network = LlamaModel(LlamaConfig(**shape)) if decoder else BertModel(BertConfig(**shape))
    network.save_pretrained(body)
    tokenizer.save_pretrained(body)
    first = Transformer(str(body))
    pool = Pooling(32, pooling_mode=pooling, include_prompt=include_prompt)
    modules = [first, pool]
    if dense is not None:
        modules.append(Dense(pool.get_embedding_dimension(), dense))
    if normalize:
        modules.append(Normalize())
    model = SentenceTransformer(modules=modules, prompts=prompts, device="cpu")
    model.save(str(folder), create_model_card=False)
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def make_static_embedder(folder: Path) -> Any:
    """Write a model of word vectors alone, which has no table of tokens, and return it."""
    import numpy as np
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, **{word: n + 1 for n, word in enumerate(WORDS)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(WORDS) + 1, 16)).astype(np.float32)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save(
        str(folder), create_model_card=False
    )
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
