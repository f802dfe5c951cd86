"""An index that nodes build over SSH is the one that is built here, and its facts come back."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.rag.manifest import FILE, verify
from engine.rag.opening import open_searcher
from tests.cli.test_first_light import Shell
from tests.cluster.apart import nodes_apart
from tests.rag.making import write_rows
from tests.rag.tiny_embedder import WORDS, make_embedder


class Library(Shell):
    """A folder with documents, questions and the spec of an index."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        draw = random.Random(2)
        documents = {f"d{n}": " ".join(draw.choices(WORDS, k=draw.randint(8, 30))) + f" n{n}" for n in range(60)}
        write_rows(folder / "documents.jsonl", documents)
        rows = [{"id": f"q{n}", "question": f"which is n{n}", "passages": [f"d{n}"]} for n in range(5)]
        (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def spec(self, name: str, embedder: Path | None, **more: Any) -> str:
        """Write a spec; return its name."""
        document = {
            "kind": "rag",
            "corpus": {"path": "documents.jsonl"},
            "chunks": {"tokens": 24, "overlap": 4},
            "index": {"block_size": 8},
            "embedder": {"path": str(embedder), "precision": "fp32", "batch_size": 4} if embedder else None,
            "questions": "questions.jsonl",
            "placement": {"threads": 1, "nodes": 2},
            **more,
        }
        (self.folder / name).write_text(json.dumps(document))
        return name

    def built_here(self, spec: str) -> bytes:
        """Build in the foreground by one rank; return the manifest."""
        command = [sys.executable, "-m", "engine.cli", "rag", "build", spec, "--run-dir", "here"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "here" / "index" / FILE).read_bytes()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    found = Library(tmp_path)
    yield found
    if found.database.exists():
        lifecycle.stop(found.database)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    folder = tmp_path_factory.mktemp("nodes")
    with Testbed.start(folder / "ssh", nodes=2, slots=1, workdir=folder / "work") as running:
        yield running


def made_of(shown: dict[str, Any]) -> Path:
    """The index of an experiment as `engine show --json` tells it."""
    (made,) = [artifact for artifact in shown["artifacts"] if artifact["kind"] == "index"]
    return Path(made["path"])


def test_an_index_of_words_that_two_nodes_build_is_the_one_built_here(library: Library, nodes: Testbed) -> None:
    spec = library.spec("rag.yaml", None)
    launched = library.engine("launch", spec, "--hostfile", str(nodes.hostfile), "--wait")
    assert launched.code == 0, launched.err
    shown = library.engine("show", "rag-0001", "--json").json
    assert (shown["state"], shown["nodes"]) == ("succeeded", 2)
    assert (made_of(shown) / FILE).read_bytes() == library.built_here(spec)
    asked = library.engine("rag", "query", "rag-0001", "n7", "-k", "1", "--json")
    assert asked.json["passages"][0]["doc_id"] == "d7"
    assert library.engine("metrics", "rag-0001", "--last", "--json").json["metrics"]["recall@5"] == 1.0


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_vectors_that_two_nodes_make_are_those_made_here_and_indexes_stand_side_by_side(
    library: Library, nodes: Testbed, tmp_path: Path
) -> None:
    make_embedder(tmp_path / "tiny")
    spec = library.spec("rag.yaml", tmp_path / "tiny")
    launched = library.engine("launch", spec, "--hostfile", str(nodes.hostfile), "--wait", "--name", "both")
    assert launched.code == 0, launched.err
    words = library.engine(
        "launch", library.spec("words.yaml", None), "--hostfile", str(nodes.hostfile), "--wait", "--name", "words"
    )
    assert words.code == 0, words.err
    shown = library.engine("show", "both", "--json").json
    assert (made_of(shown) / FILE).read_bytes() == library.built_here(spec) and verify(made_of(shown)) == []
    asked = library.engine("rag", "query", "both", "the river tower", "--json")
    (passages,) = open_searcher(library.folder / "here" / "index").search(["the river tower"], 5)
    told = [(one["chunk_id"], one["score"]) for one in asked.json["passages"]]
    assert told == [(passage.chunk.id, passage.score) for passage in passages] and len(told) == 5
    compared = library.engine("compare", "both", "words", "--json").json
    both, alone = compared["metrics"]["recall@5"]
    assert 0 <= both <= 1 == alone and any(key.startswith("embedder") for key in compared["config"])
    pace = library.engine("metrics", "both", "--name", "chunks", "--json").json["series"]["chunks"]
    assert pace["value"][-1] == shown["total_steps"]
    rows = library.engine("rag", "ls", "--json").json
    assert {row["name"] for row in rows} == {"both", "words"} and all(row["path"] for row in rows)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_nodes_that_share_no_folder_build_the_same(
    library: Library, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_embedder(tmp_path / "tiny")
    spec = library.spec("rag.yaml", tmp_path / "tiny")
    with nodes_apart(tmp_path_factory.mktemp("apart"), 2) as emptied:
        apart = emptied(monkeypatch)
        hostfile = re.sub(r"workdir=\S+", "workdir=~/work", apart.testbed.hostfile.read_text())
        (tmp_path / "hostfile").write_text(hostfile.replace("shared=yes", "shared=no"))
        launched = library.engine("launch", spec, "--hostfile", "hostfile", "--wait")
        assert launched.code == 0, launched.err
        shown = library.engine("show", "rag-0001", "--json").json
        path = str(made_of(shown))
        index = apart.there(1, path) if path.startswith("~/") else Path(path)
        assert (index / FILE).read_bytes() == library.built_here(spec) and verify(index) == []
        assert not list(apart.homes[1].rglob("index"))
        away = library.engine("rag", "query", "rag-0001", "tower")
        assert (away.code == 4 and "is not on this machine" in away.err) or away.code == 0
        brought = library.engine("export", "rag-0001", "--to", "brought", "--what", "index")
        assert brought.code == 0, brought.err
        lifecycle.stop(library.database)
