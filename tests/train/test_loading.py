"""Under ZeRO 3 a folder is loaded in parts: no rank ever holds the whole model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train import loading_census

WORLD = 4
# glibc keeps what was freed, for later, unless it was large; here all weights are.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@pytest.fixture(scope="module")
def big(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of some 190 MB in several files, much larger than its largest layer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("big")
    shape = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8}
    network = LlamaForCausalLM(LlamaConfig(vocab_size=2048, max_position_embeddings=64, **shape))
    network.save_pretrained(folder, max_shard_size="50MB")
    AutoTokenizer.from_pretrained(causal).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_each_rank_holds_its_share_and_never_much_more(big: Path, tmp_path: Path, lora: object) -> None:
    file = tmp_path / "model.json"
    file.write_text(json.dumps({"path": str(big), "lora": lora}))
    run = subprocess.run(
        [sys.executable, "-m", loading_census.__name__, str(file), str(WORLD)],
        env=os.environ | MALLOC | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    whole = sum(part.stat().st_size for part in big.glob("*.safetensors"))
    found = {line["rank"]: line for line in map(json.loads, run.stdout.splitlines())}
    assert sorted(found) == list(range(WORLD)) and whole > 150e6
    for rank, line in found.items():
        assert line["held"] < 1.1 * whole / WORLD
        # Rank 0 also maps the files, whose pages the kernel takes back when it needs them.
        assert line["peak"] < (0.6 + (rank == 0)) * whole, line
