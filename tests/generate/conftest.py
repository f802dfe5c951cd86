"""A tokenizer that reads any text, and a folder with a small model for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.data.tokenizers import train_tokenizer
from engine.spec.sections import Data, Tokenizer

POSITIONS = 256


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Byte-level pieces, with the chat template and the role markers of the trainers."""
    corpus = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    corpus.write_text("Answer the question from the passages below. Ada was born in Oslo and bakes bread.\n" * 3)
    settings = Tokenizer(kind="bpe", corpus=(str(corpus),), vocabulary_size=320)
    return train_tokenizer(settings, Data(train=str(corpus)))


@pytest.fixture(scope="session")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model with random weights and its tokenizer, as an SFT run exports them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        initializer_range=0.3,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
