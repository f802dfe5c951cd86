"""A Llama of a known shape with random weights, and a tokenizer of made-up words, in a folder: nothing is downloaded.

python benchmarks/random_model.py SHAPE FOLDER POSITIONS
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# hidden size, layers, heads, intermediate size
SHAPES = {
    "tiny": (128, 3, 4, 352),
    "1b": (2048, 16, 16, 5504),
    "1.3b": (2048, 24, 16, 5504),
    "2.7b": (2560, 32, 20, 6912),
    "5b": (3584, 32, 28, 9728),
    "7b": (4096, 32, 32, 11008),
    "13b": (5120, 40, 40, 13824),
}
WORDS = [f"w{number}" for number in range(8000)]  # each is one token


def make_model(shape: str, folder: Path, *, positions: int) -> None:
    """Write it, in a process of its own: what that held of a GPU is free afterwards."""
    subprocess.run([sys.executable, __file__, shape, str(folder), str(positions)], check=True)


def _write(shape: str, folder: Path, positions: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from engine.data.tokenizers import train_tokenizer
    from engine.spec.sections import Data

    folder.mkdir(parents=True)
    corpus = folder / "words.jsonl"
    corpus.write_text(json.dumps({"prompt": " ".join(WORDS), "response": "w0"}) + "\n")
    tokenizer = train_tokenizer(None, Data(train=str(corpus)))
    corpus.unlink()
    hidden, layers, heads, intermediate = SHAPES[shape]
    cuda = torch.cuda.is_available()
    config = LlamaConfig(
        vocab_size=max(len(tokenizer), 32000 if shape != "tiny" else 0),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16" if cuda else "float32",
    )
    torch.set_default_dtype(torch.bfloat16 if cuda else torch.float32)
    with torch.device("cuda" if cuda else "cpu"):
        network = LlamaForCausalLM(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__" and len(sys.argv) == 4:
    _write(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
