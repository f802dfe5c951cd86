"""Whatever the index, a search finds what brute force finds, in the same order; a damaged file is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import InvalidInput, NotFound
from engine.plan.rag import Choice, choose_index
from engine.rag.vectors import training
from engine.rag.vectors.index import VectorIndex, build_vectors, load, recall_against_exact, save, train_vectors
from engine.rag.vectors.nearest import nearest
from engine.rag.vectors.vector_rows import VectorRows

ROWS, DIMENSION = 2_000, 32
COPIES = slice(0, ROWS, 40)  # these rows are one and the same vector
FACTORIES = [
    *("Flat", "SQ8", "IVF16,Flat", "IVF16,SQ8", "IVF16_HNSW8,SQ8", "HNSW8", "HNSW8,SQ8", "PQ8x4fs", "PQ8x4fs,RFlat"),
    *("IVF16,PQ8x4fs", "IVF16,PQ8x4fs,RFlat", "L2norm,IVF16,SQ8", "IVF16,RaBitQ"),
]


def unit(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def clustered(rows: int, *, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((rows // 40, DIMENSION))
    return unit(centres[random.integers(len(centres), size=rows)] + 0.5 * random.standard_normal((rows, DIMENSION)))


def in_blocks(vectors: NDArray[np.float32], *cuts: int) -> VectorRows:
    return VectorRows(np.split(vectors, cuts), vectors.shape[1])


def brute_force(
    vectors: NDArray[np.float32], query: NDArray[np.float32], k: int, mask: NDArray[np.bool_]
) -> list[tuple[float, int]]:
    """Return (score, row) of the best k, by Python's own sort and sum."""
    rows = np.flatnonzero(mask)
    scores = [np.float32(np.sum(vectors[row].astype(np.float64) * query.astype(np.float64))) for row in rows]
    return sorted(((float(score), int(row)) for score, row in zip(scores, rows, strict=True)), key=by_score)[:k]


def by_score(hit: tuple[float, int]) -> tuple[float, int]:
    return -hit[0], hit[1]


VECTORS = clustered(ROWS)
VECTORS[COPIES] = VECTORS[0]
QUERIES = unit(VECTORS[[0, 7, 901]] + 0.1 * np.random.default_rng(1).standard_normal((3, DIMENSION)))


@pytest.fixture(scope="module", params=FACTORIES)
def index(request: pytest.FixtureRequest) -> VectorIndex:
    choice = choose_index(ROWS, DIMENSION, factory=request.param)
    # Filters go through the index, however few rows they leave.
    return replace(build_vectors(in_blocks(VECTORS, 700, 701), choice), exact_below=0)


def pairs(found: tuple[NDArray[np.float32], NDArray[np.int64]], place: int) -> list[tuple[float, int]]:
    return [(float(s), int(r)) for s, r in zip(found[0][place], found[1][place], strict=True) if r >= 0]


@pytest.mark.parametrize("left", [0, 1, 3, 25, 200])
def test_a_filter_that_leaves_few_rows_finds_exactly_those(index: VectorIndex, left: int) -> None:
    allowed = np.zeros(ROWS, np.bool_)
    allowed[np.random.default_rng(left).choice(ROWS, left, replace=False)] = True
    removed = np.flatnonzero(allowed)[1::3]
    counted = allowed.copy()
    counted[removed] = False
    found = index.search(QUERIES, 10, allowed=allowed, removed=removed)
    assert found[0].shape == found[1].shape == (len(QUERIES), 10)
    for place, query in enumerate(QUERIES):
        true = brute_force(VECTORS, query, 10, counted)
        if left <= 25 or isinstance(index.index, (faiss.IndexFlat, faiss.IndexIVFFlat)):
            assert pairs(found, place) == true
        assert all(counted[row] for _, row in pairs(found, place)) and len(pairs(found, place)) == len(true)
    assert (found[0][found[1] < 0] == -np.inf).all()


def test_equal_vectors_are_found_by_row_also_where_the_list_ends_amid_them(index: VectorIndex) -> None:
    scores, rows = index.search(VECTORS[:1], 20)
    assert rows[0].tolist() == list(range(0, ROWS, 40))[:20] and len(set(scores[0].tolist())) == 1
    _, rows = index.search(VECTORS[:1], 20, removed=np.array([0, 80]))
    assert rows[0].tolist() == [row for row in range(0, ROWS, 40) if row not in {0, 80}][:20]


def test_scores_are_inner_products_and_most_neighbours_are_found(index: VectorIndex) -> None:
    found = index.search(QUERIES, 10, allowed=np.arange(ROWS) % 2 == 1)
    hits = 0
    for place, query in enumerate(QUERIES):
        true = brute_force(VECTORS, query, ROWS, np.arange(ROWS) % 2 == 1)
        assert pairs(found, place) == sorted(set(pairs(found, place)) & set(true), key=by_score)
        hits += len(set(pairs(found, place)) & set(true[:10]))
    assert hits >= 27


def test_more_are_wanted_than_there_are(index: VectorIndex) -> None:
    found = index.search(QUERIES[:1], ROWS + 5)
    assert pairs(found, 0) == brute_force(VECTORS, QUERIES[0], ROWS, np.ones(ROWS, np.bool_))
    assert found[1][0, ROWS:].tolist() == [-1] * 5


def test_a_saved_index_finds_the_same_memory_mapped_and_grows(index: VectorIndex, tmp_path: Path) -> None:
    save(index, tmp_path / "index")
    vectors = in_blocks(VECTORS)
    mapped = load(tmp_path / "index", vectors, bytes=(tmp_path / "index").stat().st_size, effort=index.effort)
    for one, other in zip(mapped.search(QUERIES, 10), index.search(QUERIES, 10), strict=True):
        assert np.array_equal(one, other)
    grown = load(tmp_path / "index", vectors, writable=True, effort=index.effort)
    more = clustered(300, seed=5)
    grown.add(in_blocks(np.concatenate([VECTORS, more]), ROWS))
    assert grown.rows == ROWS + 300
    assert (grown.search(more[:50], 1)[1][:, 0] == np.arange(ROWS, ROWS + 50)).sum() >= 48


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF16,SQ8", "HNSW8", "IVF16_HNSW8,SQ8", "IVF16,PQ8x4fs,RFlat"])
def test_the_same_vectors_give_the_same_bytes_with_any_threads_and_blocks(factory: str, tmp_path: Path) -> None:
    choice = choose_index(ROWS, DIMENSION, factory=factory)
    written = []
    for threads, cuts in ((1, ()), (2, (3, 3, 1999))):
        save(build_vectors(in_blocks(VECTORS, *cuts), choice, seed=4, threads=threads), tmp_path / "index")
        written.append((tmp_path / "index").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF16,SQ8", "IVF16_HNSW8,SQ8"])
def test_parts_filled_apart_and_merged_have_the_bytes_of_one_build(factory: str, tmp_path: Path) -> None:
    choice, vectors = choose_index(ROWS, DIMENSION, factory=factory), in_blocks(VECTORS)
    save(train_vectors(vectors, choice), tmp_path / "trained")
    parts = []
    for start, stop in ((0, 700), (700, 1500), (1500, ROWS)):
        part = load(tmp_path / "trained", vectors, writable=True, rows=0)
        part.add(vectors, start=start, stop=stop)
        parts.append(part)
    for part in parts[1:]:
        parts[0].merge(part)
    for name, one in (("merged", parts[0]), ("whole", build_vectors(vectors, choice))):
        save(one, tmp_path / name)
    assert (tmp_path / "merged").read_bytes() == (tmp_path / "whole").read_bytes()


def test_neither_training_nor_filling_reads_all_vectors_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "PIECE", 128)
    read: list[int] = []
    for name in ("take", "between"):
        plain = getattr(VectorRows, name)

        def counted(*arguments: Any, plain: Callable[..., Any] = plain) -> Any:
            taken = plain(*arguments)
            read.append(len(taken))
            return taken

        monkeypatch.setattr(VectorRows, name, counted)
    choice = choose_index(ROWS, DIMENSION, factory="IVF16,SQ8", training_vectors=300)
    assert build_vectors(in_blocks(VECTORS, 500), choice).rows == ROWS
    assert max(read) == 300 and sum(read) == 300 + ROWS


def test_many_queries_at_once_are_answered_as_each_alone() -> None:
    flat = build_vectors(in_blocks(VECTORS), choose_index(ROWS, DIMENSION))
    queries = clustered(4_800, seed=3)  # enough for faiss to turn to matrix products, which round otherwise
    scores, rows = flat.search(queries, 10)
    for place in range(0, len(queries), 97):
        alone = flat.search(queries[place : place + 1], 10)
        assert np.array_equal(alone[0][0], scores[place]) and np.array_equal(alone[1][0], rows[place])


@settings(max_examples=60)
@given(st.data())
def test_exact_search_is_brute_force_whatever_the_blocks_the_rows_and_the_ties(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 60))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    vectors = unit(random.integers(-1, 2, (count, 4)) + 0.25)  # few directions, so many ties
    mask = random.random(count) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    k = data.draw(st.integers(1, 12))
    queries = unit(random.standard_normal((2, 4)))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=3)))
    found = nearest(in_blocks(vectors, *cuts), queries, k, np.flatnonzero(mask))
    for place, query in enumerate(queries):
        assert pairs(found, place) == brute_force(vectors, query, k, mask)


def test_an_index_without_vectors_finds_nothing(tmp_path: Path) -> None:
    nothing = VectorRows([], DIMENSION)
    save(build_vectors(nothing, choose_index(0, DIMENSION)), tmp_path / "index")
    scores, rows = load(tmp_path / "index", nothing).search(QUERIES, 4)
    assert (rows == -1).all() and (scores == -np.inf).all() and rows.shape == (3, 4)


@pytest.mark.parametrize(
    ("queries", "k", "said"),
    [
        (np.full((2, DIMENSION), np.nan), 3, "query 0 holds NaN"),
        (np.vstack([QUERIES, np.full((1, DIMENSION), np.inf)]), 3, "query 3 holds NaN or infinity"),
        (np.ones((2, DIMENSION + 1)), 3, "have 32 dimensions"),
        (np.ones(DIMENSION), 3, "have 32 dimensions"),
        (QUERIES, 0, "none"),
    ],
)
def test_queries_that_cannot_be_answered_are_refused(queries: NDArray[Any], k: int, said: str) -> None:
    flat = build_vectors(in_blocks(VECTORS), choose_index(ROWS, DIMENSION))
    with pytest.raises(InvalidInput, match=said):
        flat.search(queries, k)


def test_a_filter_or_a_removed_row_of_another_index_is_refused() -> None:
    flat = build_vectors(in_blocks(VECTORS), choose_index(ROWS, DIMENSION))
    with pytest.raises(InvalidInput, match="filter"):
        flat.search(QUERIES, 3, allowed=np.ones(ROWS + 1, np.bool_))
    with pytest.raises(InvalidInput, match="removed"):
        flat.search(QUERIES, 3, removed=np.array([ROWS]))


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "1234 holds NaN"), (np.inf, "1234 holds NaN"), (0.0, "1234 has length 0, not 1")]
)
@pytest.mark.parametrize("factory", ["Flat", "IVF16,SQ8"])
def test_a_vector_that_is_no_direction_is_refused_by_its_row(value: float, said: str, factory: str) -> None:
    vectors = VECTORS.copy()
    vectors[1234] = value
    with pytest.raises(InvalidInput, match=said):
        build_vectors(in_blocks(vectors, 900), choose_index(ROWS, DIMENSION, factory=factory))


@pytest.mark.parametrize("factory", ["Nonsense", "IVF16", "LSH", "IVF16,SQ9", "HNSW8_Nonsense"])
def test_what_faiss_does_not_build_is_told_in_one_sentence(factory: str) -> None:
    choice = choose_index(ROWS, DIMENSION, factory=factory)
    with pytest.raises(InvalidInput, match=factory) as caught:
        build_vectors(in_blocks(VECTORS), choice)
    assert caught.value.hint and "\n" not in str(caught.value) and "/project" not in str(caught.value)


def test_a_kind_of_which_the_plan_knows_nothing_is_trained_and_searched() -> None:
    index = build_vectors(in_blocks(VECTORS), choose_index(ROWS, DIMENSION, factory="RQ4x4"))
    allowed = np.arange(ROWS) % 3 == 2
    rows = replace(index, exact_below=0).search(VECTORS[2:300:3], 3, allowed=allowed)[1]
    assert (rows[:, 0] == np.arange(2, 300, 3)).mean() > 0.8 and allowed[rows].all()


def test_a_choice_made_for_more_vectors_than_there_are_is_told() -> None:
    with pytest.raises(InvalidInput, match="cannot be trained on 10 vectors"):
        build_vectors(in_blocks(VECTORS[:10]), Choice("IVF16,SQ8", "", 16, "nprobe", 1000))


@pytest.mark.parametrize("factory", ["Flat", "IVF16,SQ8", "HNSW8", "IVF16,PQ8x4fs"])
def test_a_damaged_file_is_refused_and_never_ends_the_process(factory: str, tmp_path: Path) -> None:
    vectors, file = in_blocks(VECTORS), tmp_path / "index"
    save(build_vectors(vectors, choose_index(ROWS, DIMENSION, factory=factory)), file)
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    cuts = [0, 1, 10, 60, len(whole) // 2, len(whole) - 1, *random.integers(0, len(whole), 6).tolist()]
    for cut in cuts:
        file.write_bytes(whole[:cut])
        with pytest.raises(InvalidInput):
            load(file, vectors, bytes=len(whole))
        # Without a manifest, faiss may take a file that lacks the last bytes; what it then finds is scored anew.
        asked(file, vectors)
    file.write_bytes(bytes(len(whole)))
    with pytest.raises(InvalidInput, match="damaged"):
        load(file, vectors, bytes=len(whole))
    digest = "0" * 64
    for place in random.integers(0, len(whole), 30).tolist() + list(range(0, 120, 3)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(random.integers(8))
        file.write_bytes(flipped)
        asked(file, vectors)
        with pytest.raises(InvalidInput, match="SHA-256"):
            load(file, vectors, sha256=digest)


def asked(file: Path, vectors: VectorRows) -> None:
    """Search what may be damaged: it answers with rows that there are, or is refused."""
    try:
        scores, rows = load(file, vectors).search(QUERIES, 5)
    except InvalidInput as error:
        assert error.where is None or error.where == str(file)
        return
    assert (rows < ROWS).all() and np.isfinite(scores[rows >= 0]).all()


def test_an_index_of_other_vectors_or_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "index"
    with pytest.raises(NotFound):
        load(file, in_blocks(VECTORS))
    save(build_vectors(in_blocks(VECTORS), choose_index(ROWS, DIMENSION)), file)
    for other in (VECTORS[:-1], VECTORS[:, :-1]):
        with pytest.raises(InvalidInput, match="holds 2,000 vectors of 32 dimensions, and should"):
            load(file, in_blocks(np.ascontiguousarray(other)))
    by_distance = faiss.IndexFlatL2(DIMENSION)
    by_distance.add(VECTORS)
    faiss.write_index(by_distance, str(file))
    with pytest.raises(InvalidInput, match="inner product"):
        load(file, in_blocks(VECTORS))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, vectors = tmp_path / "index", in_blocks(VECTORS)
    index = build_vectors(vectors, choose_index(ROWS, DIMENSION))
    save(index, file)
    before = file.read_bytes()

    def full(_: Any, name: str) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(OSError, match="No space"):
        save(index, file)
    assert file.read_bytes() == before


def test_recall_is_the_share_of_true_neighbours_that_are_found() -> None:
    vectors = clustered(ROWS, seed=8)
    perfect = build_vectors(in_blocks(vectors), choose_index(ROWS, DIMENSION))
    assert recall_against_exact(perfect) == 1.0
    blind = replace(build_vectors(in_blocks(vectors), choose_index(ROWS, DIMENSION, factory="IVF64,Flat")), effort=1)
    true = np.argsort(-(vectors.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, 1:6]
    found = [[row for row in hits if row != itself][:5] for itself, hits in enumerate(blind.search(vectors, 6)[1])]
    share = sum(len(set(one) & set(other)) for one, other in zip(found, true.tolist(), strict=True)) / (5 * ROWS)
    assert recall_against_exact(blind, sample=ROWS, k=5) == pytest.approx(share, abs=1e-12) and 0.3 < share < 0.99


def test_exact_search_and_planning_need_no_faiss_and_vectors_no_torch() -> None:
    program = (
        "import sys, engine.rag.vectors.nearest, engine.rag.vectors.index; assert 'faiss' not in sys.modules; "
        "import numpy as np; from engine.rag.vectors.vector_rows import VectorRows; "
        "from engine.plan.rag import choose_index; "
        "rows = VectorRows([np.eye(4, dtype=np.float32)], 4); "
        "index = engine.rag.vectors.index.build_vectors(rows, choose_index(4, 4)); "
        "assert index.search(np.eye(4)[:1], 1)[1][0, 0] == 0; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
