"""A build among files that mean no good: it succeeds, and its report names each of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.cli.__main__ import main
from engine.errors import InvalidInput
from engine.rag.manifest import read_manifest, verify
from engine.rag.opening import open_index, open_searcher
from tests.rag.making import found, spec_of
from tests.rag.reading_files import jsonl, pdf, spaces, words
from tests.rag.tiny_embedder import make_embedder
from tests.train.forkserver import ForkServer

GOOD = {"good.txt": "the river of the city", "good.md": "# Tower\n\nthe king founded the tower"}
MIB = 1 << 20


def hostile(folder: Path) -> set[str]:
    """Write good files, and others; return the places of what cannot be used."""
    folder.mkdir()
    for name, content in GOOD.items():
        (folder / name).write_text(content)
    (folder / "good.pdf").write_bytes(pdf(words("the bridge was in the city")))
    (folder / "empty.txt").touch()
    (folder / "blank.md").write_text("\n \0\n")
    (folder / "binary.txt").write_bytes(os.urandom(4096))
    (folder / "utf8.txt").write_bytes("the caf\xe9".encode("latin-1"))
    (folder / "line.txt").write_text("river " * (10 * MIB // 6))
    (folder / "bomb.pdf").write_bytes(pdf((spaces(200), "/Filter /FlateDecode")))
    with (folder / "enormous.txt").open("wb") as file:
        file.truncate(64 * MIB)
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    (folder / "model.bin").write_bytes(b"\0" * 100)
    rows = [{"id": "row", "text": "the king was not in the city"}, {"id": "row", "text": "the second of its id"}]
    (folder / "rows.jsonl").write_bytes(jsonl(rows) + b'{"text": \n' + jsonl([{"id": "n", "text": 7}]))
    (folder / "half.jsonl").write_bytes(b'{"id": "half", "text": "a \\ud800 king \\udc00"}\n')
    (folder / "nan.txt").write_text("the poison was in the bridge")
    return {
        *("empty.txt", "blank.md", "binary.txt", "utf8.txt", "line.txt", "enormous.txt", "gone.txt", "model.bin"),
        *("rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4", "nan.txt, characters 0-28"),
    }


def test_every_input_that_cannot_be_used_is_named_and_all_else_is_found(
    tmp_path: Path, rag_server: ForkServer, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_embedder(tmp_path / "nan")
    weights = model[0].auto_model.embeddings.word_embeddings.weight.data
    (poison,) = model.tokenizer("poison", add_special_tokens=False)["input_ids"]
    weights[poison] = float("nan")
    model.save(str(tmp_path / "nan"), create_model_card=False)
    places = hostile(tmp_path / "corpus")
    spec = tmp_path / "spec.yaml"
    corpus = {"max_file_bytes": 32 * MIB}
    spec.write_text(json.dumps(spec_of(tmp_path / "corpus", tmp_path / "nan", corpus=corpus)))
    job = rag_server.start(spec, tmp_path / "run", world=1)
    assert job.wait() == [0], job.log()

    index = tmp_path / "run" / "index"
    assert verify(index) == []
    manifest = read_manifest(index)
    lines = (index / manifest.names().rejects).read_text().splitlines()
    told = {one["place"]: one["reason"] for one in map(json.loads, lines)}
    bombs = {place for place in told if place.startswith("bomb.pdf")}
    assert set(told) == places | bombs and bombs == {"bomb.pdf", "bomb.pdf:page 1"}, told
    assert "NaN" in told["nan.txt, characters 0-28"] and manifest.counts.rejected == len(told) == len(lines)
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    read, blind = (event for event in events if event.get("event") == "rejected")
    named = {f"{place} {reason}" for place, reason in told.items()}
    assert {*read["data"]["inputs"], *blind["data"]["inputs"]} == named and read["level"] == "warning"
    with pytest.raises(SystemExit):
        main(["rag", "show", str(index), "--rejects"])
    shown = capsys.readouterr().out
    assert all(place in shown for place in told)

    searcher = open_searcher(index)
    documents = {"good.txt", "good.md", "good.pdf", "row", "half"}
    (near,), (both,) = (found(searcher, ["the city of the king"], mode) for mode in ("dense", "hybrid"))
    assert {name for name, _ in near} == documents == {name for name, _ in both}
    assert found(searcher, ["poison"], "lexical") == [{}]
    with pytest.raises(InvalidInput, match="no direction for the query 'poison'"):
        searcher.search(["poison"], mode="dense")
    assert manifest.counts.documents == len(documents) and len(open_index(index).removed) == 1
