"""Folders with small cross-encoders of random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

WORDS = [f"w{number}" for number in range(60)]
LONGEST = 32  # tokens
NLI = {0: "CONTRADICTION", 1: "Entailment", 2: "neutral"}

MakeScorer = Callable[..., Path]


@pytest.fixture(scope="session")
def make_scorer(tmp_path_factory: pytest.TempPathFactory) -> MakeScorer:
    """Return a function that writes a model with the given labels to a folder of its own."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    pieces = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*special, *WORDS])}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )

    def make(labels: Mapping[int, str] = NLI, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("scorer")
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=LONGEST,
            initializer_range=0.6,
            pad_token_id=0,
            id2label=dict(labels),
            label2id={name: number for number, name in labels.items()},
            **settings,
        )
        torch.manual_seed(len(labels))
        BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
