"""Optimiser states on a disk are checkpointed and resumed bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import Refused
from engine.train import disk_states
from tests.train import disk_program


def test_what_was_saved_goes_on_as_if_nothing_had_happened(causal: Path, tmp_path: Path) -> None:
    """On a disk where DeepSpeed's operator for it can be compiled; elsewhere the same code, with states in memory."""
    from deepspeed.ops.op_builder import AsyncIOBuilder
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=64, **shape)).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(causal).save_pretrained(tmp_path / "base")
    disk = [str(tmp_path / "disk")] if AsyncIOBuilder().is_compatible(verbose=False) else []
    run = subprocess.run(
        [sys.executable, "-m", disk_program.__name__, str(tmp_path), *disk],
        env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    whole, resumed = map(json.loads, run.stdout.splitlines())
    assert len(whole) == 3 and resumed == whole
    for folder in disk:
        assert sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) > 1e6
        assert not [file for file in (tmp_path / "it/offloaded_tensors").rglob("*") if file.is_file()]


def test_another_number_of_ranks_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be spread over another number of ranks"):
        disk_states.require_same_ranks(tmp_path, same_ranks=False)
