"""Documents of every kind of file: their text, ids, titles, sections and metadata."""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
from pathlib import Path

import pytest

from engine.errors import NotFound, Refused
from engine.rag.reading.digests import corpus_digest, file_digests
from engine.rag.reading.files import corpus_files
from engine.spec.rag import Corpus
from tests.rag.reading_files import every_kind, jsonl, pdf, read, words

TEXTS = ["Ono was born in Zelt.", "Zelt lies in Varn, a naïve town."]


def test_every_kind_of_file_gives_the_same_text(tmp_path: Path) -> None:
    for name, content in every_kind(TEXTS).items():
        (tmp_path / name).write_bytes(content)
    documents, rejected = read(tmp_path)
    assert rejected == {}
    for name in every_kind(TEXTS):
        found = [document for document in documents if document.source.split(":")[0] == name]
        if len(found) == 1:
            assert found[0].id == found[0].source == name
            assert found[0].text.removeprefix("Heading\n\n").split("\n\n") == TEXTS
        else:
            assert [document.text for document in found] == TEXTS
            ids = ["A_b#0", "A_b#1"] if name == "h.json" else [f"{name[0]}1", f"{name[0]}2"]
            assert [document.id for document in found] == ids


def test_ids_order_and_digests_are_the_same_wherever_the_corpus_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus"
    (corpus / "inner").mkdir(parents=True)
    for name, content in every_kind(TEXTS).items():
        (corpus / name).write_bytes(content)
        (corpus / "inner" / name.upper()).write_bytes(content)
    (corpus / "picture.png").write_bytes(b"\x89PNG\0")
    (corpus / "broken.jsonl").write_text('{"text": "a"}\n{"text":\n{"text": "b"}\n')
    first = read(corpus)
    shutil.copytree(corpus, tmp_path / "elsewhere" / "copy")
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert read(Path("copy")) == first
    monkeypatch.chdir(tmp_path)
    assert [document.id for document in first[0] if document.source.startswith("broken")] == [
        "broken.jsonl:1",
        "broken.jsonl:3",
    ]
    assert {document.id for document in first[0]} >= {"a.txt", "inner/A.TXT", "inner/D.PDF", "k2", "A_b#1"}

    paths = [str(path.relative_to("corpus")) for path in corpus_files(Corpus(path="corpus"))]
    assert len(paths) == 25
    digests = file_digests(Corpus(path="corpus"))
    assert [digest.path for digest in digests] == paths
    copied = file_digests(Corpus(path=str(tmp_path / "elsewhere" / "copy")))
    assert corpus_digest(copied) == corpus_digest(digests)
    with (corpus / "inner" / "A.TXT").open("ab") as file:
        file.write(b".")
    changed = file_digests(Corpus(path="corpus"))
    assert [new.path for old, new in zip(digests, changed, strict=True) if old != new] == ["inner/A.TXT"]
    assert corpus_digest(changed) != corpus_digest(digests)


def test_the_second_document_of_an_id_is_left_out_and_both_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        jsonl([{"id": "x", "text": "1"}, {"id": 7, "text": "2"}, {"id": "x", "text": "3"}])
    )
    (tmp_path / "b.csv").write_text('id,text\n"7","4"\n"b.txt","5"\n')
    (tmp_path / "b.txt").write_text("6")
    documents, rejected = read(tmp_path)
    assert [document.text for document in documents] == ["1", "2", "5"]
    assert rejected == {
        "a.jsonl:3": "has the id 'x' of a.jsonl:1",
        "b.csv:2": "has the id '7' of a.jsonl:2",
        "b.txt": "has the id 'b.txt' of b.csv:3",
    }


def test_broken_rows_are_named_and_the_others_read(tmp_path: Path) -> None:
    lines = [
        '{"text": "good"}', "{", "[]", "",
        '{"title": "t"}', '{"text": null}', '{"text": ["a"]}', '{"text": " \\u0000"}',
        '{"text": "a", "id": true}', '{"text": "a", "id": "a\\nb"}',
        '{"text": "abcdef"}', '{"text": ' + "1" * 5000 + "}",
        '{"text": ' + "[" * 100_000, '{"text": "id", "id": ""}',
    ]  # fmt: skip
    (tmp_path / "r.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}\n{"text": "last"}')
    documents, rejected = read(tmp_path, max_characters=5)
    assert [(document.id, document.text) for document in documents] == [
        ("r.jsonl:1", "good"), ("r.jsonl:14", "id"), ("r.jsonl:16", "last")
    ]  # fmt: skip
    assert {int(place.removeprefix("r.jsonl:")): reason for place, reason in rejected.items()} == {
        2: "is not JSON: Expecting property name enclosed in double quotes at column 1",
        3: "is not a JSON object",
        5: "has no column 'text'",
        6: "has no text",
        7: "has a 'text' that is no text",
        8: "is empty",
        9: "has an 'id' that is neither text nor an integer",
        10: "has an 'id' with control characters, or of more than 1,000 characters",
        11: "has 6 characters, more than max_characters (5)",
        12: rejected["r.jsonl:12"],
        13: "is nested too deeply",
        15: "is not UTF-8: invalid start byte at byte 11",
    }
    assert "4300 digits" in rejected["r.jsonl:12"]


def test_columns_are_those_of_the_settings_and_metadata_what_can_be_filtered_by(tmp_path: Path) -> None:
    row = {
        "body": "Text", "key": 5, "name": " A\n title ", "lang": "en", "year": 2010, "share": 0.5, "open": True,
        "none": None, "list": [1], "inner": {"a": 1}, "big": 10**30, "long": "x" * 1001, "nan": math.nan, "bad\n": 1,
    }  # fmt: skip
    (tmp_path / "r.jsonl").write_bytes(jsonl([row]))
    columns = {"text_key": "body", "id_key": "key", "title_key": "name"}
    (document,), rejected = read(tmp_path / "r.jsonl", **columns)
    assert rejected == {}
    assert (document.id, document.text, document.title) == ("5", "Text", "A title")
    assert document.metadata == {"lang": "en", "year": 2010, "share": 0.5, "open": True}
    (document,), _ = read(tmp_path / "r.jsonl", metadata_keys=("year", "name", "list", "missing"), **columns)
    assert document.metadata == {"year": 2010, "name": " A\n title"}


def test_dataset_folders_are_read_by_their_own_list(tmp_path: Path) -> None:
    import pyarrow

    def save(folder: Path, *shards: list[str]) -> None:
        folder.mkdir(parents=True)
        names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
        for name, texts in zip(names, shards, strict=True):
            table = pyarrow.table({"text": texts, "day": [None] * len(texts)})
            with pyarrow.ipc.new_stream(str(folder / name), table.schema) as writer:
                writer.write_table(table)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
        (folder / "dataset_info.json").write_text("{}")

    save(tmp_path / "set" / "train", ["a", "b"], ["c", "d", "e"])
    save(tmp_path / "set" / "test", ["z"])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    (tmp_path / "set" / "train" / "cache-1.arrow").write_bytes(b"left behind by a map")
    documents, rejected = read(tmp_path)
    assert rejected == {}
    assert [document.text for document in documents] == ["z", "a", "b", "c", "d", "e"]
    assert documents[-1].id == "set/train/data-00001-of-00002.arrow:3"
    state = tmp_path / "set" / "train" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": "../test/data-00000-of-00001.arrow"}]}))
    documents, rejected = read(tmp_path)
    assert len(documents) == 1
    assert rejected == {"set/train/state.json": "is damaged: it does not list the dataset's Arrow files"}


def test_squad_gives_a_document_a_paragraph_numbered_in_its_article(squad: Path) -> None:
    articles = json.loads(squad.read_text())["data"]
    documents, rejected = read(squad)
    assert rejected == {}
    found = {document.id: document for document in documents}
    assert len(found) == len(documents) == sum(len(article["paragraphs"]) for article in articles)
    for article in articles:
        for number, paragraph in enumerate(article["paragraphs"]):
            document = found[f"{article['title']}#{number}"]
            assert document.text.split() == paragraph["context"].split()
            assert document.title == article["title"].replace("_", " ")


def test_a_corpus_that_is_not_there_and_a_library_that_is_not_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="no such file or folder of documents"):
        read(tmp_path / "missing")
    (tmp_path / "pypdf.py").write_text("raise ModuleNotFoundError('none', name='pypdf')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "a.pdf").write_bytes(pdf(words("text")))
    with pytest.raises(Refused, match="read by pypdf, which is not installed"):
        read(tmp_path / "a.pdf")


def test_unsuffixed_files_are_text_if_they_are(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("Read me.")
    (tmp_path / "wide.txt").write_bytes("\ufeffwide é".encode("utf-16-be"))
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "old.txt.gz").write_bytes(gzip.compress(b"packed"))
    documents, rejected = read(tmp_path)
    assert [document.text for document in documents] == ["Read me.", "wide é"]
    assert rejected == {"old.txt.gz": "is of a kind that is not read (.txt.gz)", "program": "is binary"}
