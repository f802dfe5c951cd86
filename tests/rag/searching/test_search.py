"""Search of an index in memory: ways, ties, filters, removed rows, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import InvalidInput, PlumblineError, Refused
from engine.rag.records import Chunk, Document, Passage
from engine.rag.searching.fusion import combined_scores, reciprocal_ranks
from engine.rag.searching.lexical import LexicalIndex, build_lexical, open_lexical
from engine.rag.searching.search import EmbedderIdentity, Mode, Searcher

WAYS: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
TEXTS = [
    "the red cat sleeps",
    "a red dog",
    "the blue cat",
    "the blue cat",  # a copy: equal scores
    "green owls fly at night",
    "red red red owl",
    "a dog and a cat",
]
MINI = EmbedderIdentity("mini", "f" * 64)
QUERIES = ["red cat", "blue cat", "owl", "a dog at night", "purple"]


def direction(text: str) -> NDArray[np.float32]:
    """A unit vector for a text: the sum of one for each of its words."""
    total = np.zeros(16)
    for word in text.split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
        total += np.random.default_rng(seed).standard_normal(16)
    return (total / np.linalg.norm(total)).astype(np.float32)


class Vectors:
    """Exact search."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.held = np.array([direction(text) for text in texts], np.float32).reshape(len(texts), 16)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None,
        removed: NDArray[np.int64],
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        scores = np.array([(self.held * query).sum(axis=1, dtype=np.float64) for query in queries], np.float32)
        scores[:, removed] = -np.inf
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        rows = np.array([np.lexsort((np.arange(len(self.held)), -row)) for row in scores])[:, :k]
        scores = np.take_along_axis(scores, rows, axis=1)
        rows[np.isinf(scores)] = -1
        return scores, rows


@dataclass
class Encoder:
    name: str = "mini"
    fingerprint: str = "f" * 64
    asked: list[str] = field(default_factory=list)

    def encode_queries(self, texts: list[str]) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([direction(text) for text in texts])


@dataclass
class Memory:
    """An index in memory: each text is a chunk, and two neighbours are a document."""

    texts: list[str]
    lexical: LexicalIndex | None
    vectors: Vectors | None
    removed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    embedder: EmbedderIdentity | None = MINI
    encoder: Encoder = field(default_factory=Encoder)
    loads: int = 0
    name: str = "animals"

    @property
    def document_of(self) -> NDArray[np.int32]:
        return np.arange(len(self.texts), dtype=np.int32) // 2

    @property
    def documents(self) -> list[Document]:
        numbers = range((len(self.texts) + 1) // 2)
        return [Document(f"d{n}", "", f"file:{n}", f"title {n}", {"number": n}) for n in numbers]

    def chunk(self, row: int) -> Chunk:
        return Chunk(f"c{row}", f"d{row // 2}", 0, len(self.texts[row]), self.texts[row])

    def load_encoder(self) -> Encoder:
        self.loads += 1
        return self.encoder


@pytest.fixture(scope="module")
def lexical(tmp_path_factory: pytest.TempPathFactory) -> LexicalIndex:
    folder = tmp_path_factory.mktemp("lexical")
    build_lexical(TEXTS, folder)
    return open_lexical(folder)


@pytest.fixture
def memory(lexical: LexicalIndex) -> Memory:
    return Memory(TEXTS, lexical, Vectors(TEXTS))


def ids(passages: list[Passage]) -> list[str]:
    return [passage.chunk.id for passage in passages]


@pytest.mark.parametrize("mode", WAYS)
def test_a_query_finds_the_same_alone_and_beside_others(memory: Memory, mode: Mode) -> None:
    searcher = Searcher(memory)
    beside = searcher.search(QUERIES, 4, mode=mode)
    assert beside == [searcher.search([query], 4, mode=mode)[0] for query in QUERIES]
    assert beside == searcher.search(QUERIES[::-1], 4, mode=mode)[::-1]
    assert list(map(ids, beside)) == list(map(ids, searcher.search(QUERIES, 4, mode=mode, together=True)))


@pytest.mark.parametrize("mode", WAYS)
def test_equal_scores_are_ordered_by_row_and_fewer_are_the_first_of_more(memory: Memory, mode: Mode) -> None:
    (passages,) = Searcher(memory).search(["blue cat"], 1000, mode=mode)
    assert ids(passages)[:2] == ["c2", "c3"] and len(passages) <= len(TEXTS)
    assert [passage.rank for passage in passages] == list(range(1, len(passages) + 1))
    for k in range(1, len(passages)):
        assert Searcher(memory).search(["blue cat"], k, mode=mode) == [passages[:k]]


def test_hybrid_fuses_both_rankings_and_tells_them(memory: Memory) -> None:
    searcher = Searcher(memory)
    for query in QUERIES:
        ways = {mode: searcher.search([query], 7, mode=mode)[0] for mode in WAYS}
        rankings = [[int(passage.chunk.id[1:]) for passage in ways[mode]] for mode in ("dense", "lexical")]
        scores, rows = reciprocal_ranks([np.array(ranking, np.int64) for ranking in rankings])
        assert ids(ways["hybrid"]) == [f"c{row}" for row in rows]
        assert [passage.score for passage in ways["hybrid"]] == scores.tolist()
        for passage in ways["hybrid"]:
            row = int(passage.chunk.id[1:])
            held = {way: ranking.index(row) + 1 for way, ranking in zip(WAYS, rankings, strict=False) if row in ranking}
            assert passage.ranks == held
        assert ways["hybrid"] == searcher.search([query], 7)[0]  # auto: both are there
        (by_scores,) = searcher.search([query], 7, fusion="scores")
        scores, rows = combined_scores(*(_parts(ways[mode]) for mode in ("dense", "lexical")))
        assert ids(by_scores) == [f"c{row}" for row in rows] and [hit.score for hit in by_scores] == scores.tolist()
        assert {hit.chunk.id: hit.ranks for hit in by_scores} == {hit.chunk.id: hit.ranks for hit in ways["hybrid"]}


def _parts(passages: list[Passage]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores = np.array([passage.score for passage in passages], np.float32)
    return scores, np.array([int(passage.chunk.id[1:]) for passage in passages], np.int64)


def test_auto_takes_the_way_that_is_there_and_words_need_no_embedder(memory: Memory) -> None:
    assert Searcher(Memory(TEXTS, memory.lexical, None)).search(["owl"])[0][0].ranks == {"lexical": 1}
    assert set(Searcher(Memory(TEXTS, None, memory.vectors)).search(["owl"])[0][0].ranks) == {"dense"}
    searcher = Searcher(memory)
    searcher.search(QUERIES, mode="lexical")
    assert memory.loads == 0
    searcher.search(QUERIES)
    searcher.search(QUERIES, mode="dense")
    assert memory.loads == 1


@given(st.sets(st.integers(0, 6)), st.sampled_from(WAYS), st.sampled_from(["", "number>=1", "number=3", "number=2"]))
def test_removed_rows_and_other_documents_are_never_found(
    lexical: LexicalIndex, removed: set[int], mode: Mode, where: str
) -> None:
    memory = Memory(TEXTS, lexical, Vectors(TEXTS), np.array(sorted(removed), np.int64))
    wanted = {"": {0, 1, 2, 3}, "number>=1": {1, 2, 3}, "number=3": {3}, "number=2": {2}}[where]
    for passages in Searcher(memory).search(QUERIES, mode=mode, where=[where] if where else []):
        rows = [int(passage.chunk.id[1:]) for passage in passages]
        assert not set(rows) & removed and {row // 2 for row in rows} <= wanted
        if mode != "lexical":
            assert set(rows) == {row for row in range(7) if row // 2 in wanted} - removed


def test_filters_join_and_those_that_nothing_meets_find_nothing(memory: Memory) -> None:
    searcher = Searcher(memory)
    (passages,) = searcher.search(["red"], where=["number>0", "title~2"])
    assert {passage.title for passage in passages} == {"title 2"} and passages[0].source == "file:2"
    assert searcher.search(["red", "owl"], where=["number>99"]) == [[], []]
    with pytest.raises(InvalidInput, match="Did you mean number"):
        searcher.search(["red"], where=["numbr=1"])


class ByLength:
    """Short texts are better."""

    name = "length"

    def __init__(self) -> None:
        self.read: list[str] = []

    def scores(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        self.read += passages
        return -np.array([len(passage) for passage in passages], np.float64)


def test_a_reranker_orders_the_first_anew_ties_by_row(memory: Memory) -> None:
    searcher, reranker = Searcher(memory), ByLength()
    (before,) = searcher.search(["cat"], 7)
    (after,) = searcher.search(["cat"], 2, rerank=reranker, depth=4)
    assert reranker.read == [passage.chunk.text for passage in before[:4]]
    golden = sorted(before[:4], key=lambda passage: (len(passage.chunk.text), passage.chunk.id))[:2]
    assert ids(after) == ids(golden)
    assert [passage.score for passage in after] == [-len(passage.chunk.text) for passage in golden]
    assert [passage.ranks for passage in after] == [{**old.ranks, "hybrid": old.rank} for old in golden]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queries": ["owl", " \n"]}, "query 2 is empty"),
        ({"queries": ["owl \udcff"]}, "query 1 is no Unicode"),
        ({"k": 0}, "k is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"mode": "fuzzy"}, "no mode 'fuzzy'"),
        ({"where": ["number"]}, "no operator"),
    ],
)
def test_what_cannot_be_asked_is_named(memory: Memory, options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Searcher(memory).search(**{"queries": ["owl"], **options})  # type: ignore[arg-type]


def test_a_way_that_the_index_lacks_is_refused_with_what_it_has(memory: Memory) -> None:
    for held, mode, said in (
        (Memory(TEXTS, memory.lexical, None), "dense", r"needs vectors.*only words"),
        (Memory(TEXTS, memory.lexical, None), "hybrid", r"needs vectors.*mode lexical"),
        (Memory(TEXTS, None, memory.vectors), "lexical", r"needs words.*only vectors"),
        (Memory(TEXTS, None, None), "auto", "in no way"),
    ):
        with pytest.raises(Refused, match=said):
            Searcher(held).search(["owl"], mode=mode)  # type: ignore[arg-type]


def test_another_embedder_is_refused_with_both_names(memory: Memory) -> None:
    memory.embedder = EmbedderIdentity("large", "0" * 64)
    with pytest.raises(Refused, match=r"large.*mini"):
        Searcher(memory).search(["owl"])
    assert memory.encoder.asked == []
    assert Searcher(memory).search(["owl"], mode="lexical")[0]


def test_an_empty_index_finds_nothing_and_one_whose_parts_differ_is_named(tmp_path: Path) -> None:
    build_lexical([], tmp_path)
    empty = Memory([], open_lexical(tmp_path), Vectors([]))
    for mode in WAYS:
        assert Searcher(empty).search(["owl", "cat"], mode=mode) == [[], []]
    assert Searcher(empty).search([]) == []
    with pytest.raises(PlumblineError, match="BM25 has 0 chunks, and the index 7"):
        Searcher(Memory(TEXTS, open_lexical(tmp_path), None)).search(["owl"])
