"""`engine rag`: what it prints, what its JSON holds, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.rag.manifest import read_manifest
from engine.spec.loading import parse_spec
from engine.store import experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord, MetricsRecord
from tests.cli.conftest import Engine
from tests.rag.making import make_index, spec_of, write_rows
from tests.rag.tiny_embedder import make_embedder

REPOSITORY = Path(__file__).resolve().parents[2]
TEXTS = {
    "river": ("The river of the city was a poison, wrote the king.", {"lang": "en", "year": 1999}),
    "tower": ("In the tower the king founded a bridge.", {"lang": "de", "year": 2005}),
    "bridge": ("The bridge was not in the city \x1b[31m of the tower.", {"lang": "en", "year": 2010}),
}
QUESTIONS = [
    {"id": "q1", "question": "who founded a bridge in the tower", "passages": ["tower"], "answers": ["the king"]},
    {"id": "q2", "question": "what poison was in the river", "passages": ["river"], "answers": ["the river"]},
    {"id": "q3", "question": "nobody knows", "answerable": False},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of words and vectors, and its embedder."""
    from engine.rag.embedding.embedder import load_encoder
    from engine.spec.rag import Embedder

    folder = tmp_path_factory.mktemp("made")
    make_embedder(folder / "tiny")
    encoder = load_encoder(Embedder(path=str(folder / "tiny"), precision="fp32", batch_size=4))
    corpus = write_rows(folder / "corpus" / "a.jsonl", {**TEXTS, "blank": "   "})
    make_index(folder / "run" / "index", spec_of(corpus.parent, folder / "tiny"), encoder)
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made / "run" / "index", tmp_path / "index")


def experiment(database: Path, name: str, path: str | None, recall: float = 0.5) -> str:
    """An index build in the database; path: of what it has made."""
    store = Store.open(database)
    identity = experiments.create(store, parse_spec("kind: rag\ncorpus: {path: c}\n"), name=name)
    point = MetricsRecord(1_700_000_000.0, 1, 3, {"chunks": 3, "recall@5": recall})
    assert facts.ingest(store, identity, "metrics.jsonl", Chunk((point,), 50, (), False), 0)
    if path is not None:
        data = {"kind": "index", "path": path, "sha256": "ab"}
        event = EventRecord(1_700_000_001.0, 1, "artifact", "Made the index.", data=data)
        assert facts.ingest(store, identity, "events.jsonl", Chunk((event,), 50, (), False), 0)
    store.close()
    return identity


def test_a_build_in_the_foreground_leaves_an_index_that_can_be_asked(engine: Engine, tmp_path: Path) -> None:
    write_rows(tmp_path / "c" / "a.jsonl", TEXTS)
    (tmp_path / "c" / "broken.txt").write_bytes(b"caf\xe9 \xff")
    spec = tmp_path / "rag.yaml"
    spec.write_text("kind: rag\nname: words\ncorpus: {path: c}\n")
    command = [sys.executable, "-m", "engine.cli", "rag", "build", str(spec), "--set", "chunks.tokens=50"]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 inputs were left out; the first: broken.txt is not UTF-8" in done.stderr and done.stdout == ""
    run = str(tmp_path / "runs" / "words")
    assert read_manifest(Path(run) / "index").settings["chunks"]["tokens"] == 50
    found = engine("rag", "query", run, "who wrote of poison", "-k", "1", "--json").json
    assert [passage["doc_id"] for passage in found["passages"]] == ["river"]
    assert engine("rag", "verify", run).code == 0


def test_a_query_as_json_has_the_shape_that_is_promised(engine: Engine, index: Path) -> None:
    result = engine("rag", "query", str(index), "the king founded", "-k", "2", "--json")
    assert set(result.json) == {"index", "query", "passages", "seconds"}
    assert (result.json["index"], result.json["query"]) == (str(index), "the king founded")
    first, second = result.json["passages"]
    assert {"rank", "score", "doc_id", "chunk_id", "text", "source"} <= set(first)
    assert (first["rank"], second["rank"]) == (1, 2) and first["score"] >= second["score"]
    assert first["source"].startswith("a.jsonl:") and set(first["ranks"]) <= {"dense", "lexical"}
    assert {passage["doc_id"] for passage in (first, second)} <= set(TEXTS) and "error:" not in result.err


def test_modes_and_filters_are_taken(engine: Engine, index: Path) -> None:
    def documents(*arguments: str) -> list[str]:
        result = engine("rag", "query", str(index), "the city of the tower", "--json", *arguments)
        return [passage["doc_id"] for passage in result.json["passages"]]

    assert set(documents("--mode", "dense")) == set(TEXTS)
    assert set(documents("--where", "lang=en")) == {"river", "bridge"}
    assert documents("--where", "lang=en", "--where", "year>2000") == ["bridge"]
    assert documents("--where", "year<1900") == []
    ways = [
        engine("rag", "query", str(index), "the city of the tower", "--json", *way).json["passages"][0]["score"]
        for way in ((), ("--fusion", "ranks"), ("--fusion", "scores"))
    ]
    assert ways[0] == ways[1] <= 2 / 61 < 0.5 < ways[2] < 1.001
    wrong = engine("rag", "query", str(index), "tower", "--where", "colour=red")
    assert wrong.code == 2 and "colour" in wrong.err and "year" in wrong.err


def test_people_get_passages_without_the_control_characters_in_them(engine: Engine, index: Path) -> None:
    result = engine("rag", "query", str(index), "bridge not in the city", "-k", "1", "--mode", "lexical")
    assert "[1] bridge" in result.out and "\x1b" not in result.out and "a.jsonl:3" in result.out
    assert engine("rag", "query", str(index), "unheard", "--mode", "lexical").out == "Nothing found.\n"


def test_questions_come_from_the_input_or_a_file_one_a_line(
    engine: Engine, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["who founded a bridge", "poison river"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n".join(asked) + "\n"))
    spoken = engine("rag", "query", str(index), "--json")
    assert [json.loads(line)["query"] for line in spoken.out.splitlines()] == asked
    (tmp_path / "questions.txt").write_text("\n".join(asked))
    read = engine("rag", "query", str(index), "--questions", str(tmp_path / "questions.txt"), "--json")
    for here, there in zip(spoken.out.splitlines(), read.out.splitlines(), strict=True):
        assert json.loads(here)["passages"] == json.loads(there)["passages"]
    (tmp_path / "questions.txt").write_text(" \n")
    assert engine("rag", "query", str(index), "--questions", str(tmp_path / "questions.txt")).code == 2


def test_eval_measures_each_way_with_intervals(engine: Engine, index: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    result = engine("rag", "eval", str(index), "--questions", str(questions), "--json")
    assert [(one["mode"], one["questions"]) for one in result.json] == [("dense", 2), ("lexical", 2), ("hybrid", 2)]
    lexical = result.json[1]
    assert lexical["recall@1"] == lexical["mrr@10"] == lexical["ndcg@10"] == 1.0
    low, high = result.json[0]["recall@1_interval"]
    assert low <= result.json[0]["recall@1"] <= high and lexical["latency_p50"] <= lexical["latency_p99"]
    shown = engine("rag", "eval", str(index), "--questions", str(questions), "--mode", "lexical", "--mode", "dense")
    head, first, *_ = shown.out.splitlines()
    assert head.split()[:4] == ["INDEX", "MODE", "RECALL@1", "RECALL@5"] and "1.000 [1.000, 1.000]" in first
    assert "LESS" in shown.out
    fused = engine("rag", "eval", str(index), "--questions", str(questions), "--fusion", "scores", "--json").json
    assert [one["fusion"] for one in fused] == [None, None, "scores"]

    # By answers alone, recall becomes success, and what needs all relevant documents is left out.
    questions.write_text("".join(json.dumps({**row, "passages": []}) + "\n" for row in QUESTIONS))
    answers = engine("rag", "eval", str(index), "--questions", str(questions))
    assert answers.code == 0 and "SUCCESS@5" in answers.out and "NDCG" not in answers.out
    wrong = engine("rag", "eval", str(index), "--questions", str(questions), "--mode", "fuzzy")
    assert wrong.code == 2 and "fuzzy" in wrong.err


def test_what_eval_measured_is_kept_with_the_experiment_that_made_the_index(
    engine: Engine, index: Path, tmp_path: Path
) -> None:
    database = tmp_path / "experiments.db"
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    asked = ("rag", "eval", str(index), "--questions", str(questions), "--mode", "lexical", "--db", str(database))
    nowhere = engine(*asked)
    assert "Not kept: there is no database" in nowhere.err and not database.exists()
    Store.open(database)
    assert f"Kept in {database} with {index}." in engine(*asked).err  # no experiment made it
    assert "no database" not in engine(*asked, "--no-keep").err
    assert len(engine("rag", "show", str(index), "--json", "--db", str(database)).json["measures"]) == 1

    made = experiment(database, "bridges", str(index))
    assert f"with {made}." in engine(*asked).err and f"with {made}." in engine(*asked).err
    shown = engine("show", made, "--json", "--db", str(database)).json["index_measures"]
    assert [(one["mode"], one["questions"], one["recall@1"]) for one in shown] == [("lexical", 2, 1.0)] * 2
    assert shown[0]["questions_file"] == str(questions) and shown[0]["measured_at"] >= shown[1]["measured_at"]
    for told in (engine("show", made, "--db", str(database)), engine("rag", "show", str(index), "--db", str(database))):
        (line,) = [line for line in told.out.splitlines() if "questions.jsonl" in line]  # the newest alone
        assert line.split()[1:5] == ["ago", "questions.jsonl", "2", "lexical"]


def test_show_tells_what_it_holds_and_what_was_left_out(engine: Engine, index: Path) -> None:
    shown = engine("rag", "show", str(index), "--rejects")
    for words in ("documents", "tiny, 32 dimensions, fp32", "Flat: ", "BM25", "a.jsonl:4", "is empty"):
        assert words in shown.out, words
    document = engine("rag", "show", str(index), "--json").json
    assert document["counts"]["documents"] == 3 and document["rejects"][0]["place"] == "a.jsonl:4"
    assert document["bytes"] == sum(file.stat().st_size for file in index.rglob("*") if file.is_file())


def test_update_adds_replaces_and_removes_and_says_so(engine: Engine, index: Path, tmp_path: Path) -> None:
    new = write_rows(tmp_path / "new.jsonl", {"river": ("The river was a tower.", {}), "king": "A king.", "none": " "})
    changed = engine("rag", "update", str(index), "--add", str(new), "--remove", "tower", "--json")
    told = {name: changed.json[name] for name in ("added", "replaced", "removed", "unchanged", "embedded")}
    assert told == {"added": 1, "replaced": 1, "removed": 1, "unchanged": 0, "embedded": 2}
    assert changed.json["counts"]["documents"] == 3 and changed.json["rejected"][0]["place"] == "new.jsonl:3"
    again = engine("rag", "update", str(index), "--add", str(new), "--compact")
    assert again.out.startswith("0 added, 0 replaced, 0 removed, 2 unchanged; 0 new chunks")
    assert "left out: new.jsonl:3" in again.err
    shown = engine("rag", "show", str(index), "--json").json["rejects"]
    assert [one["place"] for one in shown] == ["a.jsonl:4", "new.jsonl:3"]
    assert engine("rag", "update", str(index)).code == 2
    missing = engine("rag", "update", str(index), "--remove", "nobody")
    assert missing.code == 3 and "nobody" in missing.err


def test_verify_names_what_is_damaged_and_ends_with_1(engine: Engine, index: Path) -> None:
    assert engine("rag", "verify", str(index)).out == f"{index} is as it was written.\n"
    for name in ("segment-000/chunks.jsonl", "segment-000/vectors.npy", "vectors-001.faiss", "manifest.json"):
        file, content = index / name, (index / name).read_bytes()
        file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        result = engine("rag", "verify", str(index), "--json")
        assert result.code == 1 and name in result.err and "Traceback" not in result.err
        file.write_bytes(content)


def test_an_index_is_found_by_its_experiment_and_what_is_not_there_is_said(
    engine: Engine, index: Path, database: Path
) -> None:
    nothing = engine("rag", "query", "nothing", "tower")
    assert nothing.code == 3 and "is no index" in nothing.err
    first = experiment(database, "first", str(index))
    second = experiment(database, "second", "/nowhere/index", recall=0.75)
    third = experiment(database, "third", None)
    assert engine("rag", "query", "first", "poison river", "-k", "1", "--json").json["passages"][0]["doc_id"] == "river"
    cases = {"second": (4, "is not on this machine"), "third": (3, "has made no index"), "fourth": (3, "'fourth'")}
    for name, (code, words) in cases.items():
        result = engine("rag", "query", name, "tower")
        assert result.code == code and words in result.err, name
    assert "engine export second" in engine("rag", "show", "second").err
    rows = engine("rag", "ls", "--json").json
    assert {row["id"]: row["path"] for row in rows} == {first: str(index), second: "/nowhere/index", third: None}
    assert "0.75" in engine("rag", "ls").out
    compared = engine("compare", "first", "second", "--json").json
    assert compared["metrics"]["recall@5"] == [0.5, 0.75]


def test_an_embedder_that_made_other_vectors_is_refused_with_both_names(
    engine: Engine, index: Path, tmp_path: Path
) -> None:
    make_embedder(tmp_path / "other", seed=1)
    for command in (("query", str(index), "tower"), ("update", str(index), "--add", str(index / "manifest.json"))):
        result = engine("rag", *command, "--embedder", str(tmp_path / "other"))
        assert result.code == 4 and "tiny" in result.err and "other" in result.err
    gone = engine("rag", "query", str(index), "tower", "--embedder", str(tmp_path / "gone"))
    assert gone.code in (2, 3) and "gone" in gone.err
