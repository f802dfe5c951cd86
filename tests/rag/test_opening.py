"""A damaged index is one sentence, whatever was damaged, and never a crash."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.errors import InvalidInput, NotFound, PlumblineError, Refused
from engine.rag.manifest import FILE, read_manifest, verify
from engine.rag.opening import OpenIndex, open_index, open_searcher
from engine.rag.updating import update
from tests.rag.making import found, make_index, spec_of, write_rows
from tests.rag.tiny_embedder import WORDS, make_embedder

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

QUERIES = ["river tower", "king wrote the bridge"]


@pytest.fixture(scope="module")
def encoder(tiny_embedder: Path) -> Encoder:
    from engine.rag.embedding.embedder import load_encoder
    from engine.spec.rag import Embedder

    return load_encoder(Embedder(path=str(tiny_embedder), precision="fp32", batch_size=4))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory, tiny_embedder: Path, encoder: Encoder) -> Path:
    """An index with every kind of file: two segments, copies, rejects, removed rows, vectors and words."""
    folder = tmp_path_factory.mktemp("intact")
    draw = random.Random(0)
    documents = {f"d{n}": (" ".join(draw.choices(WORDS, k=30)) + f" n{n}", {"year": 2000 + n}) for n in range(10)}
    documents["copy"] = documents["d1"]
    spec = spec_of(write_rows(folder / "a.jsonl", documents), tiny_embedder)
    index = make_index(folder / "index", spec, encoder)
    update(index, add=write_rows(folder / "b.jsonl", {"new": "the king of the new city", "blank": " "}), remove=["d3"])
    (index / ".lock").unlink()
    assert len(open_index(index).removed)
    return index


@pytest.fixture(autouse=True)
def loaded(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedder is loaded once for all tests."""
    monkeypatch.setattr(OpenIndex, "load_encoder", lambda index: encoder)


def use(index: Path) -> PlumblineError | None:
    """Open and search in every way; return the error that a user would see."""
    try:
        searcher = open_searcher(index)
        for mode in ("lexical", "dense", "hybrid"):
            found(searcher, QUERIES, mode)
        searcher.search(QUERIES, 3, where=["year>2004"])
    except PlumblineError as error:
        assert "\n" not in str(error) and len(error.message) > 10
        return error
    return None


def flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]


Damage = Callable[[bytes, random.Random], bytes | None]
DAMAGES: dict[str, Damage] = {
    "missing": lambda content, draw: None,
    "empty": lambda content, draw: b"",
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "longer": lambda content, draw: content + b"\0",
    "zeroed": lambda content, draw: bytes(len(content)),
    "noise": lambda content, draw: draw.randbytes(len(content)),
    **{
        f"flip-{number}": lambda content, draw: flipped(content, draw.randrange(len(content)), draw.randrange(8))
        for number in range(4)
    },
    **{
        f"flip-head-{number}": lambda content, draw: flipped(
            content, draw.randrange(min(128, len(content))), draw.randrange(8)
        )
        for number in range(3)
    },
}


def test_whatever_happens_to_a_file_it_is_one_sentence_and_verify_names_the_file(intact: Path, tmp_path: Path) -> None:
    index = shutil.copytree(intact, tmp_path / "index")
    names = [*read_manifest(index).files, FILE]
    assert len(names) > 25
    refused = 0
    for name in names:
        file, content = index / name, (index / name).read_bytes()
        for kind, damage in DAMAGES.items():
            damaged = damage(content, random.Random(f"{name} {kind}")) if content else b"x"
            if damaged == content:
                continue
            file.unlink() if damaged is None else file.write_bytes(damaged)
            error = use(index)
            if kind in ("missing", "empty", "cut", "longer"):
                assert error is not None, (name, kind)
            refused += error is not None
            if name == FILE:
                assert isinstance(error, NotFound if damaged is None else InvalidInput), (kind, error)
            else:
                problems = verify(index)
                assert len(problems) == 1 and problems[0].startswith(name), (name, kind, problems)
            file.write_bytes(content)
    assert use(index) is None and verify(index) == [] and refused > len(names) * 4


def test_files_that_were_swapped_are_noticed(intact: Path, tmp_path: Path) -> None:
    index = shutil.copytree(intact, tmp_path / "index")
    for name in ("chunks.jsonl", "chunks.npy", "vectors.npy", "document_of.npy"):
        first, second = index / "segment-000" / name, index / "segment-001" / name
        contents = first.read_bytes(), second.read_bytes()
        first.write_bytes(contents[1])
        second.write_bytes(contents[0])
        assert isinstance(use(index), InvalidInput)
        assert {problem.split(" ")[0] for problem in verify(index)} == {f"segment-000/{name}", f"segment-001/{name}"}
        first.write_bytes(contents[0])
        second.write_bytes(contents[1])


def test_rows_of_an_index_without_words_or_of_other_sizes_are_refused(intact: Path, tmp_path: Path) -> None:
    """What a manifest describes rightly, and yet does not fit together."""
    index = shutil.copytree(intact, tmp_path / "index")
    manifest = read_manifest(index)
    np.save(index / manifest.names().removed, np.array([10_000], np.int64))
    manifest.write(index, {})
    assert "rows that are none" in str(use(index)) and verify(index) == []


def test_nothing_in_an_index_is_a_pickle(intact: Path) -> None:
    arrays = list(intact.rglob("*.npy"))
    assert len(arrays) > 10
    for file in arrays:
        assert np.load(file, allow_pickle=False).dtype.kind in "iuf"
    assert not {file.suffix for file in intact.rglob("*") if file.is_file()} - {".npy", ".jsonl", ".json", ".faiss"}


def test_another_embedder_at_a_query_is_refused_with_both_names(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    make_embedder(tmp_path / "other", seed=1)
    searcher = open_searcher(intact, tmp_path / "other")
    for mode in ("dense", "hybrid"):
        with pytest.raises(Refused) as refused:
            searcher.search(QUERIES, 3, mode=mode)  # type: ignore[arg-type]
        assert "tiny" in str(refused.value) and "other" in str(refused.value)
    assert searcher.search(QUERIES, 3, mode="lexical")[0]


def test_without_its_embedder_words_can_be_searched_and_meaning_names_it(
    intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    index = shutil.copytree(intact, tmp_path / "index")
    (index / "plumbline.json").unlink()
    searcher = open_searcher(index)
    assert searcher.search(QUERIES, 3, mode="lexical")[0]
    with pytest.raises(Refused, match="needs the embedder tiny"):
        searcher.search(QUERIES, 3, mode="dense")
