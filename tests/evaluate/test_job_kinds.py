"""Evaluations of every form on models whose probabilities are written down: what they must come to is known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.evaluate.results import read_answers, read_panel
from tests.evaluate.conftest import MakeSpec
from tests.evaluate.table_model import END, make_model
from tests.evaluate.test_job import evaluated
from tests.train.forkserver import ForkServer


def written(file: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows; return the file's path."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


# ---- multiple choice

FIRST = {"Ono": 0.5, "Zelt": 0.2, "in": 0.3}  # after either question
SECOND = {"Rime": 0.25, "Vale": 0.75}  # after "in"


def reference(right: Sequence[float], wrong: Sequence[float], best: float) -> tuple[bool, float]:
    """MC1 and MC2 as `MC_calcs` of TruthfulQA's models.py has them, from log-probabilities."""
    mass_right, mass_wrong = sum(map(math.exp, right)), sum(map(math.exp, wrong))
    return best > max(wrong), mass_right / (mass_right + mass_wrong)


def test_multiple_choices_have_the_reference_values_of_known_log_probabilities(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    table = {"one": FIRST, "two": FIRST, "three": FIRST, "in": SECOND, "Ono": {END: 0.125, "Zelt": 0.875}}
    make_model(tmp_path / "model", table)
    ono, zelt, rime, vale = (math.log(p) for p in (0.5, 0.2, 0.3 * 0.25, 0.3 * 0.75))
    asked = [
        {
            "question": "one",
            "mc1_targets": {"choices": ["Ono", "Zelt", "in\nRime"], "labels": [1, 0, 0]},
            "mc2_targets": {"choices": ["Ono", "in\nVale", "Zelt", "in\nRime"], "labels": [1, 1, 0, 0]},
        },
        {"question": "two", "choices": ["Zelt", "in\nRime", "in\nVale", "Ono"], "correct": [1, 3]},
        {"question": "three", "right_answer": "in\nRime", "hallucinated_answer": "in\nVale"},
    ]
    spec = make_spec(
        model={"path": str(tmp_path / "model")},
        questions=written(tmp_path / "choices.jsonl", asked),
        format="multiple_choice",
        passages="none",
        corpus=None,
        answers={"batch_size": 3},
    )
    folder = evaluated(server, spec, tmp_path / "run")
    answers = list(read_answers(folder))
    golden = [
        reference([ono, vale], [zelt, rime], ono),
        reference([rime, ono], [zelt, vale], rime),
        reference([rime], [vale], rime),
    ]
    # The end of an answer, 1/8 after Ono, plays no part.
    told = {choice["text"]: choice["log_prob"] for row in answers for choice in row["choices"]}
    assert told == pytest.approx({"Ono": ono, "Zelt": zelt, "in\nRime": rime, "in\nVale": vale}, abs=1e-6)
    assert [row["mc1"] for row in answers] == [mc1 for mc1, _ in golden] == [True, False, False]
    assert [row["mc2"] for row in answers] == pytest.approx([mc2 for _, mc2 in golden], abs=1e-6)
    assert [row["id"] for row in answers] == ["1", "2", "3"]
    # The likeliest choice of the second is right, though not the one that MC1 looks at.
    assert [row["outcome"] for row in answers] == ["correct", "correct", "hallucinated"]
    assert [row["response"] for row in answers] == ["Ono", "Ono", "in\nVale"]
    figures = read_panel(folder)["figures"]
    assert figures["mc1"]["value"] == pytest.approx(1 / 3)
    assert figures["mc2"]["value"] == pytest.approx(sum(mc2 for _, mc2 in golden) / 3, abs=1e-6)


# ---- an index

DOCUMENTS = [
    {"id": "d0", "title": "Ada", "text": "Ada lives in Ono."},
    {"id": "d1", "title": "Bo", "text": "Bo lives in Zelt."},
    {"id": "d2", "title": "Cy", "text": "Cy likes the lute of somebody else."},
    {"id": "d3", "title": "", "text": "His own is a harp."},
]
QUESTIONS = [
    # question, accepted, relevant, answer, outcome, cause
    ("Where does Ada live?", ["Ono"], "d0", "Ono [1]", "correct", None),
    ("Where does Bo live?", ["Zelt"], "d1", "Ono [1]", "hallucinated", "passage_ignored"),
    ("Who lives in Zelt?", ["Bo"], "d1", "Zelt [2]", "hallucinated", "passage_misread"),
    ("What does Cy like to play?", ["harp"], "d3", "Lute [1]", "hallucinated", "retrieval_miss"),
    ("Where does Bo, of all places, live?", ["Zelt"], "d1", "unknown", "abstained", "over_refusal"),
    ("Where does Ada not live?", [], None, "Zelt", "hallucinated", "answered_unanswerable"),
]


@pytest.fixture(scope="module")
def book(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of words, questions, and a model that answers from what it is asked."""
    folder = tmp_path_factory.mktemp("book")
    spec = {"kind": "rag", "corpus": {"path": written(folder / "documents.jsonl", DOCUMENTS)}, "embedder": None}
    (folder / "index.yaml").write_text(json.dumps(spec))
    job = server.start(folder / "index.yaml", folder / "built", world=1)
    assert job.wait() == [0], job.log()
    make_model(folder / "model", {f"Question: {question}": {said: 1.0} for question, _, _, said, _, _ in QUESTIONS})
    rows = [
        {
            "id": f"q{number}",
            "question": question,
            "answers": accepted,
            "answerable": bool(accepted),
            "passages": [document] if document else [],
        }
        for number, (question, accepted, document, *_) in enumerate(QUESTIONS)
    ]
    written(folder / "questions.jsonl", rows)
    return folder


def from_the_index(make_spec: MakeSpec, book: Path, **answers: Any) -> Path:
    return make_spec(
        model={"path": str(book / "model")},
        questions=str(book / "questions.jsonl"),
        passages="index",
        corpus=None,
        retrieval={"index": str(book / "built" / "index")},
        answers={"max_response_length": 2, "style": "numbered", **answers},
    )


def test_answers_from_an_index_are_held_against_what_was_found(
    server: ForkServer, make_spec: MakeSpec, book: Path, tmp_path: Path
) -> None:
    folder = evaluated(server, from_the_index(make_spec, book), tmp_path / "run")
    answers, panel = list(read_answers(folder)), read_panel(folder)
    assert [(row["response"], row["outcome"], row["cause"]) for row in answers] == [each[3:] for each in QUESTIONS]
    assert [row["passages"][0]["document"] for row in answers] == ["d0", "d1", "d1", "d2", "d1", "d0"]
    assert [row["hit"] for row in answers] == [True, True, True, False, True, None]
    assert [row["recall"] for row in answers] == [1.0, 1.0, 1.0, 0.0, 1.0, None]
    assert [(row["citations"], row["wrong_citations"]) for row in answers[:3]] == [([1], []), ([1], []), ([], [2])]
    claims = [[(claim["text"], claim["supported"]) for claim in row["claims"]] for row in answers]
    assert claims == [[("Ono", True)], [("Ono", False)], [("Zelt", True)], [("Lute", True)], [], [("Zelt", False)]]
    values = {name: figure["value"] for name, figure in panel["figures"].items() if figure is not None}
    assert values["groundedness"] == 3 / 5 and values["hit"] == values["recall"] == 4 / 5
    # Of 5 claims, those of the first and fourth are supported by what they cite; 4 citations, one of no passage.
    assert values["citation_recall"] == 2 / 5 and values["citation_precision"] == 2 / 4
    assert panel["retrieval"]["judged"] == 5
    assert panel["retrieval"]["hit"]["counts"] == {"correct": 1, "abstained": 1, "hallucinated": 2, "undetermined": 0}
    # One of one: Wilson's interval, not that of resamples that are all alike.
    miss = panel["retrieval"]["miss"]["figures"]["hallucinated"]
    assert (miss["value"], miss["high"]) == (1.0, 1.0) and miss["low"] == pytest.approx(1 / (1 + 1.96**2), abs=1e-4)
    assert sum(panel["causes"].values()) == 5 and panel["causes"]["fabrication"] == 0
    assert panel["settings"]["support"]["name"] == "lexical"


def test_an_answer_with_too_little_support_is_withheld(
    server: ForkServer, make_spec: MakeSpec, book: Path, tmp_path: Path
) -> None:
    folder = evaluated(server, from_the_index(make_spec, book, min_support=0.5), tmp_path / "run")
    answers = list(read_answers(folder))
    assert [row["withheld"] for row in answers] == [None, "Ono [1]", None, None, None, "Zelt"]
    assert [row["outcome"] for row in answers][1] == [row["outcome"] for row in answers][5] == "abstained"
    assert answers[1]["response"] == "unknown" and answers[1]["cause"] == "over_refusal" and answers[5]["cause"] is None


def test_confidence_is_the_models_and_answers_below_a_threshold_are_withheld(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    table = {"a": {"Ono": 0.9, "Zelt": 0.1}, "b": {"Ono": 0.6, "Zelt": 0.4}, "Ono": {END: 0.5, "Zelt": 0.5}}
    make_model(tmp_path / "model", table)
    spec = make_spec(
        model={"path": str(tmp_path / "model")},
        questions=written(tmp_path / "q.jsonl", [{"question": "a", "answer": "Ono"}, {"question": "b", "answer": "X"}]),
        passages="none",
        corpus=None,
        answers={"max_response_length": 2, "samples": 200},
        grading={"confidence": "agreement", "abstain_below": 0.4},
    )
    answers = list(read_answers(evaluated(server, spec, tmp_path / "run")))
    assert [row["probability"] for row in answers] == pytest.approx([0.45, 0.3], abs=1e-6)
    assert [row["per_token"] for row in answers] == pytest.approx([math.sqrt(0.45), math.sqrt(0.3)], abs=1e-6)
    # Of 200 draws each; six standard deviations.
    assert [row["agreement"] for row in answers] == pytest.approx([0.45, 0.3], abs=0.22)
    assert [row["confidence"] for row in answers] == [row["agreement"] for row in answers]
    assert [row["outcome"] for row in answers] == [
        "correct" if answers[0]["agreement"] >= 0.4 else "abstained",
        "hallucinated" if answers[1]["agreement"] >= 0.4 else "abstained",
    ]
    assert answers[1]["outcome"] == "abstained"
