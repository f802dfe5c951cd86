"""The index that is chosen fits the number of vectors, and takes what the plan says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.plan.factories import parse_factory
from engine.plan.rag import choose_index, chunks_of_bytes, estimate

DIMENSION = 64
ROWS = 6_000


@pytest.mark.parametrize(
    ("rows", "factory", "effort"),
    [
        (0, "Flat", None),
        (19_999, "Flat", None),
        (20_000, "IVF512,SQ8", 32),
        (100_000, "IVF1024,SQ8", 32),
        (2_000_000, "IVF4096,SQ8", 128),
        (2_000_001, "IVF65536_HNSW32,SQ8", 128),
        (21_000_000, "IVF65536_HNSW32,SQ8", 128),
    ],
)
def test_the_number_of_vectors_chooses_the_index(rows: int, factory: str, effort: int | None) -> None:
    choice = choose_index(rows, 384)
    assert (choice.factory, choice.effort, choice.warnings) == (factory, effort, ())
    assert f"{rows:,} vectors" in choice.reason and choice.reason.count(".") == 1
    assert choice.training_vectors <= rows


def test_where_memory_is_short_codes_are_shorter_and_too_little_is_told() -> None:
    roomy = estimate(1_000_000, 384, choose_index(1_000_000, 384)).building_bytes
    assert roomy is not None
    assert choose_index(1_000_000, 384, memory_bytes=roomy).factory.endswith("SQ8")
    tight = choose_index(1_000_000, 384, memory_bytes=roomy - 1)
    assert tight.factory == "IVF4096,PQ96x4fs" and "fit" in tight.reason and not tight.warnings
    assert choose_index(1_000_000, 384, memory_bytes=10**6).warnings


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.sampled_from([64, 384, 1024]))
def test_more_vectors_never_take_less(one: int, other: int, dimension: int) -> None:
    few, many = sorted((one, other))
    factory = choose_index(many, dimension).factory
    if few < parse_factory(factory, dimension).needed:
        return
    less, more = (
        estimate(rows, dimension, choose_index(rows, dimension, factory=factory), chunks_per_second=50.0)
        for rows in (few, many)
    )
    for name in ("vectors_bytes", "index_bytes", "building_bytes", "searching_bytes", "embedding_seconds"):
        assert getattr(less, name) <= getattr(more, name), name


@pytest.mark.parametrize(
    "factory",
    [
        *("Flat", "SQ8", "SQ4", "SQfp16", "HNSW16", "HNSW32,SQ8", "IVF32,Flat", "IVF64,SQ8", "IVF64_HNSW8,SQ8"),
        *("PQ16x4fs", "PQ16x4fs,RFlat", "IVF32,PQ16x4fs,Refine(SQ8)", "L2norm,IVF32,SQ8", "PCA32,SQ8"),
        "IVF32,RaBitQ",
    ],
)
def test_a_file_is_as_large_as_the_plan_says(factory: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSION), dtype=np.float32)
    index = faiss.index_factory(DIMENSION, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index"))
    planned = parse_factory(factory, DIMENSION).index_bytes(ROWS)
    assert planned == pytest.approx((tmp_path / "index").stat().st_size, rel=0.03)


def test_a_kind_of_unknown_size_is_taken_and_its_size_left_open() -> None:
    plan = estimate(ROWS, DIMENSION, choose_index(ROWS, DIMENSION, factory="NSG32"))
    assert (plan.index_bytes, plan.building_bytes, plan.embedding_seconds) == (None, None, None)
    assert plan.vectors_bytes == ROWS * DIMENSION * 4


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("", "no factory string"),
        ("Flat,,", "no factory string"),
        ("IVF64,SQ8; rm -rf", "no factory string"),
        ("IDMap,Flat", "IDMap"),
        ("IVF0,SQ8", "no lists"),
        ("PQ7x4fs", "does not divide"),
        ("IVF8192,SQ8", "needs 8,192 vectors to be trained on, and there are 6,000"),
        ("PQ16x16", "needs 65,536 vectors"),
    ],
)
def test_a_factory_string_that_cannot_be_is_refused_in_one_sentence(factory: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        choose_index(ROWS, DIMENSION, factory=factory)
    assert caught.value.hint and "\n" not in str(caught.value)


def test_a_given_index_that_misses_neighbours_or_has_too_many_lists_is_taken_with_a_warning() -> None:
    assert "recall" in choose_index(ROWS, DIMENSION, factory="IVF32,PQ16x4fs").warnings[0]
    assert "need 39" in choose_index(ROWS, DIMENSION, factory="IVF512,SQ8").warnings[0]
    assert choose_index(ROWS, DIMENSION, factory="IVF32,PQ16x4fs,RFlat").warnings == ()


@given(st.integers(0, 10**12), st.integers(1, 2048), st.data())
def test_chunks_of_a_corpus_grow_with_it_and_with_their_overlap(size: int, tokens: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tokens - 1))
    count = chunks_of_bytes(size, chunk_tokens=tokens, overlap=overlap)
    assert count <= chunks_of_bytes(size + 4096, chunk_tokens=tokens, overlap=overlap)
    assert count >= chunks_of_bytes(size, chunk_tokens=tokens, overlap=0)
    assert (count == 0) == (size == 0)


def test_planning_an_index_loads_neither_faiss_nor_numpy() -> None:
    program = "import sys, engine.plan.rag; sys.exit(bool({'faiss', 'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
