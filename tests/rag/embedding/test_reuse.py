"""Vectors are taken over where texts are equal and the embedder is the same, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import NotFound, Refused
from engine.rag.cutting import _base_digest
from engine.rag.embedding.embedder import load_encoder
from engine.rag.embedding.reuse import known_rows
from engine.rag.manifest import read_manifest
from engine.rag.opening import open_index
from engine.rag.segments import Segment
from engine.rag.updating import update
from engine.spec.models import RagSpec
from engine.spec.rag import Embedder
from tests.rag.making import make_index, spec_of, write_rows


def test_rows_of_equal_texts_are_found_and_removed_ones_are_not(tmp_path: Path, tiny_embedder: Path) -> None:
    encoder = load_encoder(Embedder(path=str(tiny_embedder), precision="fp32", batch_size=4))
    base = make_index(
        tmp_path / "base",
        spec_of(write_rows(tmp_path / "a.jsonl", {"a": "the river", "b": "a tower", "c": "a king"}), tiny_embedder),
        encoder,
    )
    update(base, remove=["b"])
    texts = {"x": "a king", "y": "a tower", "z": "the river"}
    words = make_index(tmp_path / "words", spec_of(write_rows(tmp_path / "b.jsonl", texts)))
    segment = Segment(words / "segment-000")
    used = read_manifest(base).embedder
    assert used is not None
    pairs = known_rows(segment, base, used)
    opened = open_index(base)
    assert [(segment.text(int(row)), opened.chunk(int(there)).text) for row, there in pairs] == [
        ("a king", "a king"),
        ("the river", "the river"),
    ]
    vectors = encoder.encode_passages(["a king", "the river"])
    assert np.allclose([opened.vector(int(there)) for _, there in pairs], vectors, atol=1e-6)
    for other in (replace(used, fingerprint="f" * 64, name="other"), replace(used, precision="bf16")):
        with pytest.raises(Refused) as refused:
            known_rows(segment, base, other)
        assert used.name in str(refused.value) and other.name in str(refused.value)
    with pytest.raises(Refused, match="no vectors"):
        known_rows(segment, words, used)
    with pytest.raises(NotFound):
        known_rows(segment, tmp_path, used)


def test_what_was_prepared_for_a_base_is_not_used_with_another_state_of_it(tmp_path: Path) -> None:
    corpus = write_rows(tmp_path / "a.jsonl", {"a": "the river", "b": "a tower"})
    base = make_index(tmp_path / "base", spec_of(corpus))
    spec = RagSpec.model_validate(spec_of(corpus, base=str(base)))
    before = _base_digest(spec)
    update(base, remove=["a"])
    assert before is not None and _base_digest(spec) not in (before, None)
