"""`engine rag answer`: with passages and without, and what they support, by a model whose answers are written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.spec.loading import parse_spec
from engine.store import experiments
from engine.store.database import Store
from tests.cli.conftest import Engine
from tests.evaluate.table_model import END, make_model
from tests.rag.making import make_index, spec_of, write_rows

ASKED, INVENTED = "Where does Ada bake?", "Who reads here?"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of words and a model that answers two questions, one as the passage has it."""
    folder = tmp_path_factory.mktemp("made")
    corpus = write_rows(folder / "a.jsonl", {"ada": "Ada bakes bread in Oslo.", "reader": "A reader reads in Rome."})
    make_index(folder / "index", spec_of(corpus))
    answers = {ASKED: "Oslo", INVENTED: "Paris"}
    make_model(folder / "model", {question: {said: 0.9, END: 0.1} for question, said in answers.items()})
    return folder


def test_it_tells_the_answer_its_passages_and_what_they_support(engine: Engine, made: Path) -> None:
    words = ["rag", "answer", str(made / "index"), ASKED, "--model", str(made / "model"), "--style", "plain"]
    told = engine(*words, "-k", "1", "--max-response-length", "3", "--json")
    assert told.code == 0, told.err
    with_them, without = told.json["answers"]
    assert (with_them["text"], without["text"]) == ("Oslo", "Oslo")
    assert [passage["doc_id"] for passage in with_them["passages"]] == ["ada"] and without["passages"] is None
    assert with_them["support"]["groundedness"] == 1.0 and without["support"] is None
    assert with_them["probability"] == pytest.approx(0.9, abs=1e-3)
    page = engine(*words, "-k", "1", "--max-response-length", "3").out
    assert page.index("WITH 1 PASSAGES") < page.index("supported") < page.index("WITHOUT PASSAGES")


def test_an_answer_that_no_passage_supports_is_withheld_if_that_is_asked_for(engine: Engine, made: Path) -> None:
    words = ["rag", "answer", str(made / "index"), INVENTED, "--model", str(made / "model"), "--style", "plain"]
    free = engine(*words, "--max-response-length", "3", "--json").json["answers"][0]
    assert free["text"] == "Paris" and free["support"]["groundedness"] == 0.0
    held = engine(*words, "--max-response-length", "3", "--min-support", "0.5", "--json").json["answers"][0]
    assert held["abstained"] and held["withheld"] == "Paris"


def test_what_is_no_model_is_named(engine: Engine, database: Path, made: Path, tmp_path: Path) -> None:
    nowhere = engine("rag", "answer", str(made / "index"), "?", "--model", str(tmp_path))
    assert nowhere.code == 3 and "is no model folder" in nowhere.err
    experiments.create(Store.open(database), parse_spec("kind: rag\ncorpus: {path: c}\n"), name="idle")
    idle = engine("rag", "answer", str(made / "index"), "?", "--model", "idle")
    assert idle.code == 3 and "has made no model that answers" in idle.err
