"""An index that is changed finds what one that is built anew finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import NotFound, Refused
from engine.rag import opening, updating
from engine.rag.manifest import FILE, belonging, read_manifest, verify
from engine.rag.opening import open_index, open_searcher
from engine.rag.updating import update
from tests.rag.making import Documents, found, make_index, spec_of, write_rows
from tests.rag.tiny_embedder import make_embedder
from tests.rag.update_documents import QUERIES, base_documents, text

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder


def same(one: Path, other: Path) -> None:
    """Both find the same for all queries: documents, texts and scores."""
    first, second = open_searcher(one), open_searcher(other)
    for mode in ("dense", "lexical") if open_index(one).manifest.embedder else ("lexical",):
        for here, there in zip(found(first, QUERIES, mode), found(second, QUERIES, mode), strict=True):
            assert here == pytest.approx(there, abs=2e-6)
    assert open_index(one).manifest.counts.documents == open_index(other).manifest.counts.documents


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF4,SQ8"])
def test_what_was_added_replaced_and_removed_is_found_as_in_an_index_built_anew(
    factory: str, tmp_path: Path, encoder: Encoder, tiny_embedder: Path, loaded: list[str]
) -> None:
    documents = base_documents()
    spec = spec_of(write_rows(tmp_path / "a.jsonl", documents), tiny_embedder, index={"factory": factory})
    index = make_index(tmp_path / "index", spec, encoder)
    loaded.clear()

    documents["d5"] = (documents["d5"][0] + " " + text(1005, 20), {"even": False})
    documents["d6"] = (documents["d6"][0], {"even": True, "year": 1999})  # only metadata
    documents |= {f"d{number}": (text(number), {"even": True}) for number in range(30, 34)}
    given_ = {name: documents[name] for name in ("d5", "d6", "d7", "d30", "d31", "d32", "d33")}
    first = update(index, add=write_rows(tmp_path / "b.jsonl", given_), remove=["d0", "d1"])
    del documents["d0"], documents["d1"]
    # Row numbers are part of the source, so d7 moved to another line and is written anew, but not embedded.
    assert (first.added, first.replaced, first.removed, first.compacted) == (4, 3, 2, False)
    assert first.embedded == len(loaded) and not any("n6 " in f"{one} " or "n7 " in f"{one} " for one in loaded)
    assert 0 < first.embedded < first.chunks
    assert len(open_index(index).removed) == read_manifest(index).counts.removed > 0
    anew = make_index(
        tmp_path / "anew-1", {**spec, "corpus": {"path": str(write_rows(tmp_path / "c.jsonl", documents))}}, encoder
    )
    same(index, anew)
    (year,) = open_searcher(index).search(["river"], 50, where=["year=1999"])
    assert {one.chunk.document for one in year} == {"d6"}

    loaded.clear()
    documents["d5"] = (text(2005), {"even": False})
    for number in range(8, 20):
        del documents[f"d{number}"]
    second = update(
        index, add=write_rows(tmp_path / "b.jsonl", {"d5": documents["d5"]}), remove=[f"d{n}" for n in range(8, 20)]
    )
    assert second.compacted and second.embedded == second.chunks == len(loaded)
    opened = open_index(index)
    assert len(opened.segments) == 1 and not len(opened.removed) and verify(index) == []
    same(
        index,
        make_index(
            tmp_path / "anew-2", {**spec, "corpus": {"path": str(write_rows(tmp_path / "c.jsonl", documents))}}, encoder
        ),
    )
    assert {path.name for path in index.iterdir()} == {
        *(path.relative_to(index).parts[0] for path in belonging(index, opened.manifest)),
        FILE,
        "plumbline.json",
        ".lock",
    }


def test_the_same_documents_again_change_nothing_and_embed_nothing(
    tmp_path: Path, encoder: Encoder, tiny_embedder: Path, loaded: list[str]
) -> None:
    corpus = write_rows(tmp_path / "a.jsonl", base_documents())
    index = make_index(tmp_path / "index", spec_of(corpus, tiny_embedder), encoder)
    before = read_manifest(index)
    loaded.clear()
    again = update(index, add=corpus)
    assert (again.added, again.replaced, again.unchanged, again.chunks, again.embedded, loaded) == (0, 0, 30, 0, 0, [])
    assert (again.manifest.counts, again.manifest.corpus) == (before.counts, before.corpus)


Pool = st.dictionaries(st.sampled_from([f"d{n}" for n in range(6)]), st.integers(0, 40), max_size=4)


@settings(max_examples=12)
@given(
    first=Pool.filter(bool), changes=st.lists(st.tuples(Pool, st.sets(st.integers(0, 5), max_size=2), st.booleans()))
)
def test_whatever_is_changed_an_index_of_words_finds_what_one_built_anew_does(
    first: dict[str, int],
    changes: list[tuple[dict[str, int], set[int], bool]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tmp_path = tmp_path_factory.mktemp("words")

    def rows(chosen: dict[str, int]) -> Documents:
        # No text in two documents: which of two copies stays depends on their order.
        return {name: text(seed * 10 + int(name[1:]), seed + 3) for name, seed in chosen.items()}

    index = make_index(tmp_path / "index", spec_of(write_rows(tmp_path / "a.jsonl", rows(first))))
    there = dict(first)
    for added, removed, compact in changes:
        doomed = [f"d{number}" for number in removed if f"d{number}" in there]
        left = {name: seed for name, seed in there.items() if name not in doomed} | added
        if not left or not (added or doomed):
            continue
        update(
            index, add=write_rows(tmp_path / "b.jsonl", rows(added)) if added else None, remove=doomed, compact=compact
        )
        there = left
        assert verify(index) == []
    same(index, make_index(tmp_path / "anew", spec_of(write_rows(tmp_path / "c.jsonl", rows(there)))))


def test_copies_of_what_stays_are_left_out_and_come_in_when_it_goes(tmp_path: Path) -> None:
    shared, own = text(1, 20), text(2, 20)
    corpus = tmp_path / "corpus"
    write_rows(corpus / "a.jsonl", {"a": shared, "x": text(3, 20)})
    write_rows(corpus / "b.jsonl", {"b": f"{shared}\n\n{own}", "c": shared})
    index = make_index(tmp_path / "index", spec_of(corpus))
    assert read_manifest(index).counts.duplicates == 2 and not holders(index, shared) - {"a"}

    copied = update(index, add=write_rows(tmp_path / "new.jsonl", {"e": shared, "f": text(4, 20)}))
    assert holders(index, shared) == {"a"}
    assert [(one.place, one.reason) for one in copied.rejected] == [
        ("new.jsonl:1", "has nothing that other documents do not have")
    ]
    removed = update(index, remove=["a"])
    assert {one.place for one in removed.rejected} == {"b.jsonl:1", "b.jsonl:2", "new.jsonl:1"}
    assert all("left out as a copy of what is gone" in one.reason for one in removed.rejected)
    assert not holders(index, shared) and holders(index, own) == {"b"}
    again = update(index, add=corpus / "b.jsonl")
    assert (again.replaced, again.added, again.unchanged) == (1, 0, 0)
    assert holders(index, shared) == {"b"} == holders(index, own)
    assert update(index, add=corpus / "b.jsonl", compact=True).unchanged == 1


def holders(index: Path, wanted: str) -> set[str]:
    """The documents with a chunk that holds a text."""
    opened = open_index(index)
    return {chunk.document for row in opened.live_rows() if wanted in (chunk := opened.chunk(int(row))).text}


def test_what_cannot_be_done_is_refused_and_changes_nothing(words: Path, tmp_path: Path) -> None:
    before = (words / FILE).read_bytes()
    with pytest.raises(Refused, match="nothing left"):
        update(words, remove=[f"d{number}" for number in range(8)])
    with pytest.raises(NotFound, match="no document 'd9'"):
        update(words, remove=["d1", "d9"])
    with pytest.raises(NotFound, match="is no index"):
        update(tmp_path, remove=["d1"])
    with updating._locked(words), pytest.raises(Refused, match="being changed by another process"):
        update(words, remove=["d1"])
    assert (words / FILE).read_bytes() == before and verify(words) == []
    assert update(words, remove=["d1"]).removed == 1


def test_another_embedder_is_refused_with_both_names(tmp_path: Path, encoder: Encoder, tiny_embedder: Path) -> None:
    index = make_index(
        tmp_path / "index", spec_of(write_rows(tmp_path / "a.jsonl", base_documents(3)), tiny_embedder), encoder
    )
    make_embedder(tmp_path / "other", seed=1)
    new = write_rows(tmp_path / "b.jsonl", {"new": text(99)})
    for change in (
        lambda: update(index, add=new, embedder=tmp_path / "other"),
        lambda: open_searcher(index, tmp_path / "other").search(["river"], mode="dense"),
    ):
        with pytest.raises(Refused) as refused:
            change()
        assert "tiny" in str(refused.value) and "other" in str(refused.value)
    assert "d0" in {one.chunk.document for one in open_searcher(index).search(["river"], 50)[0]}


def test_its_provenance_lists_what_is_there_after_every_update_or_verify_says_so(words: Path) -> None:
    file = words / "plumbline.json"
    built = json.loads(file.read_text())
    assert built["index"] == {"generation": 1, "files": dict(read_manifest(words).files)} and verify(words) == []
    update(words, remove=["d1"])
    manifest = read_manifest(words)
    told = json.loads(file.read_text())
    assert told == built | {"index": {"generation": 2, "files": dict(manifest.files)}} and verify(words) == []
    file.write_text(json.dumps(built))  # as an index was left by a version that did not care
    assert verify(words) == ["plumbline.json tells of other files than the manifest."]
    update(words, remove=["d2"])
    assert verify(words) == []


def test_files_that_are_not_its_own_stay(words: Path) -> None:
    (words / "README.txt").write_text("mine")
    (words / "segment-007").mkdir()  # of an update that was cut off
    update(words, remove=["d1"])
    assert (words / "README.txt").read_text() == "mine" and not (words / "segment-007").exists()


def test_who_has_it_open_goes_on_with_what_it_was(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = open_searcher(words)
    before = found(open_searcher(words), QUERIES)
    update(words, remove=["d1"], compact=True)
    assert found(searcher, QUERIES) == before

    # An update in the middle of an opening.
    real, pending = opening.Segment, ["d2"]

    def interrupted(folder: Path) -> Any:
        while pending:
            update(words, remove=[pending.pop()], compact=True)
        return real(folder)

    monkeypatch.setattr(opening, "Segment", interrupted)
    assert all("d2" not in {name for name, _ in one} for one in found(open_searcher(words), QUERIES))


def test_a_damaged_file_is_not_made_good_by_an_update(words: Path) -> None:
    file = words / "segment-000" / "chunks.jsonl"
    content = bytearray(file.read_bytes())
    place = content.index(b"river")
    content[place] ^= 1
    file.write_bytes(content)
    update(words, remove=["d7"])
    assert verify(words) == ["segment-000/chunks.jsonl was changed: its SHA-256 is another one."]


def test_lists_are_trained_anew_when_there_are_twice_as_many_vectors(
    tmp_path: Path, encoder: Encoder, tiny_embedder: Path, loaded: list[str]
) -> None:
    spec = spec_of(write_rows(tmp_path / "a.jsonl", base_documents(20)), tiny_embedder, index={"factory": "IVF2,Flat"})
    index = make_index(tmp_path / "index", spec, encoder)
    made = []
    for number in range(3):
        new = {f"new{number}-{k}": text(5000 + 100 * number + k) for k in range(12)}
        used = update(index, add=write_rows(tmp_path / "b.jsonl", new)).manifest.vectors
        assert used is not None
        made.append(used.made_of)
    rows = read_manifest(index).counts.chunks
    assert made[0] < made[1] == made[2] < rows <= 2 * made[2]
