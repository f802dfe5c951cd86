"""BM25 against its formula and a standard implementation, and a lexical index that is empty, odd or damaged."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput, NotFound, PlumblineError, Refused
from engine.rag.searching.lexical import LexicalIndex, best, build_lexical, open_lexical
from engine.rag.searching.terms import Analysis

WORDS = ["cat", "dog", "fox", "owl", "1985"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=12)


def index_of(texts: Sequence[str], folder: Path, analysis: Analysis | None = None) -> LexicalIndex:
    build_lexical(iter(texts), folder, analysis)
    return open_lexical(folder)


def by_the_formula(texts: Sequence[str], query: str, k1: float, b: float) -> list[float]:
    """Table 1 of Kamphuis et al. 2020, row "Lucene (accurate)", transcribed."""
    documents = [text.split() for text in texts]
    mean = sum(map(len, documents)) / len(documents) if documents else 0
    scores = []
    for document in documents:
        score = 0.0
        for term in query.split():
            df, tf = sum(term in other for other in documents), document.count(term)
            if tf:
                idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
                score += idf * tf / (tf + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


@given(TEXTS, st.lists(st.sampled_from([*WORDS, "unseen"]), max_size=5).map(" ".join), st.integers(1, 15), st.data())
@settings(max_examples=60)
def test_search_is_the_formula_of_bm25(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], query: str, k: int, data: st.DataObject
) -> None:
    index = index_of(texts, tmp_path_factory.mktemp("index"))
    golden = by_the_formula(texts, query, 1.2, 0.75)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), np.bool_)
    ((scores, rows),) = index.search([query], len(texts) + 1)
    assert set(rows.tolist()) == {row for row, score in enumerate(golden) if score > 0}
    np.testing.assert_allclose(scores, [golden[row] for row in rows], rtol=1e-6)
    pairs = list(zip((-scores).tolist(), rows.tolist(), strict=True))
    assert pairs == sorted(pairs)  # the best first, ties by row
    ((few, first),) = index.search([query], k)
    assert first.tolist() == rows[:k].tolist() and few.tolist() == scores[:k].tolist()
    ((_, permitted),) = index.search([query], k, allowed)
    assert permitted.tolist() == [row for row in rows.tolist() if allowed[row]][:k]


def test_scores_are_those_of_bm25s(tmp_path: Path) -> None:
    import bm25s

    draw = np.random.default_rng(5)
    words = np.array([f"w{number}" for number in range(300)])
    texts = [" ".join(words[draw.zipf(1.4, size=draw.integers(1, 90)) % 300]) for _ in range(200)]
    index = index_of(texts, tmp_path, Analysis(""))
    standard = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    standard.index([text.split() for text in texts], show_progress=False)
    queries = [" ".join(draw.choice(words, 6)) for _ in range(30)]
    for query, (scores, rows) in zip(queries, index.search(queries, 200), strict=True):
        known = [word for word in query.split() if word in standard.vocab_dict]
        golden = standard.get_scores(known) if known else np.zeros(200)
        assert sorted(rows.tolist()) == np.flatnonzero(golden).tolist()
        np.testing.assert_allclose(scores, golden[rows], rtol=1e-5)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=30), st.integers(1, 31))
def test_the_best_are_those_of_a_full_sort(scores: list[float], k: int) -> None:
    values, places = best(np.array(scores, np.float32), k)
    golden = sorted((-score, place) for place, score in enumerate(scores) if score > 0)[:k]
    assert list(zip((-values).tolist(), places.tolist(), strict=True)) == golden


def test_a_query_finds_the_same_alone_and_beside_others(tmp_path: Path) -> None:
    index = index_of(["red cat", "red dog", "blue cat cat"], tmp_path)
    queries = ["red cat", "blue", "green", "cat red red"]
    together = index.search(queries, 3)
    for query, (scores, rows) in zip(queries, together, strict=True):
        ((own_scores, own_rows),) = index.search([query], 3)
        assert own_scores.tobytes() == scores.tobytes() and own_rows.tolist() == rows.tolist()


def test_the_same_texts_leave_the_same_bytes_and_no_pickle(tmp_path: Path) -> None:
    texts = ["Zürich lies in Switzerland.", "東京 is Tokyo.", "", "10,000 dogs"]
    for name in ("one", "two"):
        build_lexical(iter(texts), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    for file in files:
        content = (tmp_path / "one" / file).read_bytes()
        assert content == (tmp_path / "two" / file).read_bytes()
        assert content.startswith(b"\x93NUMPY") if file.endswith(".npy") else json.loads(content)


@pytest.mark.parametrize("texts", [[], ["", " ", "?!"]], ids=["no texts", "texts without terms"])
def test_an_index_without_terms_finds_nothing(tmp_path: Path, texts: list[str]) -> None:
    index = index_of(texts, tmp_path)
    assert index.rows == len(texts)
    assert [rows.tolist() for _, rows in index.search(["cat", "", "?"], 5)] == [[], [], []]


def test_words_are_found_in_other_forms_scripts_and_cases(tmp_path: Path) -> None:
    index = index_of(["Dogs were running.", "東京は日本の首都", "It cost 10,000 francs in Zürich."], tmp_path)
    queries = ["dog run", "首都", "10000 ZURICH", "日"]
    assert [rows.tolist() for _, rows in index.search(queries, 3)] == [[0], [1], [2], [1]]


def test_building_and_searching_load_neither_torch_nor_faiss_nor_scipy(tmp_path: Path) -> None:
    program = """
import sys; from pathlib import Path; from engine.rag.searching.lexical import build_lexical, open_lexical
build_lexical(["a cat", "a dog"], Path(sys.argv[1])); print(open_lexical(Path(sys.argv[1])).search(["dogs"], 1)[0][1])
print(sorted({"torch", "faiss", "scipy", "transformers", "sentence_transformers", "bm25s", "jax"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["[1]", "[]"]


@pytest.mark.parametrize("name", ["terms", "term_starts", "posting_starts", "rows", "scores", "settings"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_a_damaged_index_is_named(tmp_path: Path, name: str, damage: str) -> None:
    build_lexical(["a red cat", "a blue dog"], tmp_path)
    file = tmp_path / ("settings.json" if name == "settings" else f"{name}.npy")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        np.save(tmp_path / "other.npy", np.zeros(3, np.float64))
        (tmp_path / "other.npy").rename(file)
    else:
        file.write_bytes(content[: len(content) - 1] if damage == "cut" and name != "settings" else b"")
    with pytest.raises(NotFound if (name, damage) == ("settings", "missing") else InvalidInput) as raised:
        open_lexical(tmp_path)
    assert str(raised.value.where).startswith(str(tmp_path)) and isinstance(raised.value, PlumblineError)


def test_an_index_of_another_format_is_refused(tmp_path: Path) -> None:
    build_lexical(["a"], tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(json.dumps(settings | {"format": 99}))
    with pytest.raises(Refused, match="format 99"):
        open_lexical(tmp_path)


def test_words_find_the_paragraphs_of_squad(squad: Path, tmp_path: Path) -> None:
    articles = json.loads(squad.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    asked = [
        (question["question"], row)
        for row, paragraph in enumerate(paragraphs)
        for question in paragraph["qas"]
        if not question["is_impossible"]
    ][::5]
    index = index_of([paragraph["context"] for paragraph in paragraphs], tmp_path)
    found = index.search([question for question, _ in asked], 5)
    hits = Counter(row in rows for (_, row), (_, rows) in zip(asked, found, strict=True))
    assert hits[True] / len(asked) > 0.94  # .951 of all 2,910 answerable questions
