"""A cross-encoder of random weights, made here: its scores, and folders that are no reranker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InvalidInput, RunFailed
from engine.rag.searching.reranking import load_reranker

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "is", "ada", "a", "cat", "sleeps", "##s", "the", "owl"]
PASSAGES = ["ada is a cat", "the owl sleeps", "who is the cat " * 30, "", "owls", "the owl sleeps"]


def make(folder: Path, labels: int = 1) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(5)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(
        vocab_size=len(WORDS), max_position_embeddings=64, num_labels=labels, initializer_range=0.5, **shape
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("models") / "judge")


def test_scores_are_the_models_logits_whatever_the_batch(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        golden = [
            model(**tokenizer(["who is ada"], [passage], truncation=True, return_tensors="pt")).logits.item()
            for passage in PASSAGES
        ]
    reranker = load_reranker(folder, device="cpu", batch_size=2)
    scores = reranker.scores("who is ada", PASSAGES)
    assert reranker.name == "judge" and scores.dtype == np.float64
    assert len(set(np.round(golden, 3))) == 5  # the model tells them apart, but for the two that are equal
    np.testing.assert_allclose(scores, golden, atol=1e-5)
    assert scores.tobytes() == reranker.scores("who is ada", PASSAGES).tobytes()
    assert scores[1] == scores[5]
    np.testing.assert_allclose(load_reranker(folder, device="cpu").scores("who is ada", PASSAGES), golden, atol=1e-5)
    assert reranker.scores("who is ada", []).shape == (0,)


def test_a_model_that_gives_no_numbers_is_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RunFailed, match="broken gives no number"):
        load_reranker(broken, device="cpu").scores("who is ada", PASSAGES)


def test_folders_that_are_no_reranker_are_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def copy(name: str) -> Path:
        return shutil.copytree(folder, tmp_path / name)

    pickled = copy("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    headless = copy("headless")
    config = json.loads((headless / "config.json").read_text())
    (headless / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    beheaded = copy("beheaded")
    weights = load_file(beheaded / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, beheaded / "model.safetensors", metadata={"format": "pt"})
    cut = copy("cut")
    (cut / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    for place, said in (
        (tmp_path / "nowhere", "config.json cannot be read"),
        (pickled, "no safetensors"),
        (headless, "no cross-encoder, but a BertModel"),
        (beheaded, "weights of the reranker are missing, classifier.weight"),
        (cut, "cannot be loaded"),
        (make(tmp_path / "two", labels=2), "gives 2 scores"),
    ):
        with pytest.raises(InvalidInput, match=said) as raised:
            load_reranker(place, device="cpu")
        assert raised.value.where == str(place)


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    hostile = shutil.copytree(folder, tmp_path / "hostile")
    (hostile / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((hostile / "config.json").read_text())
    config |= {"auto_map": {"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}}
    config |= {"model_type": "evil", "architectures": ["EvilForSequenceClassification"]}
    (hostile / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        load_reranker(hostile, device="cpu")
    (hostile / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]))
    with pytest.raises(InvalidInput, match="cannot be loaded"):
        load_reranker(hostile, device="cpu")
    assert not (tmp_path / "ran").exists()
