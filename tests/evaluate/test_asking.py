"""What is asked, and why answers failed: forms of files, what is broken in them, and the rules of causes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.evaluate.answer_rows import Cause, ScoredClaim, agreement, cause_of, retrieved
from engine.evaluate.asking import Asked, Given, read_asked
from engine.evaluate.choices import choices_of
from engine.evaluate.judgements import Question
from engine.evaluate.outcomes import Outcome
from engine.rag.records import Chunk, Passage
from engine.spec.models import EvalSpec
from engine.spec.retrieval import Search

Asking = Callable[..., list[Asked]]
ROWS = [
    {
        "id": "a",
        "question": "Where?",
        "answers": ["Ono"],
        "group": "g",
        "split": "eval",
        "passages": {"d2": 1, "d1": 2},
    },
    {"question": "Who?", "answerable": False, "topic": 7, "split": "train", "evidence": "Nobody knows who."},
    {"id": "c", "question": "What?", "split": "eval", "evidence": ["One.", " ", "Two."]},
]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    """Read what the rows ask; keywords are keys of the spec."""

    def read(rows: Sequence[Mapping[str, Any]] = ROWS, retriever: Any = None, **keys: Any) -> list[Asked]:
        file = tmp_path / "questions.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_asked(EvalSpec.model_validate({"model": {"path": "m"}, "questions": str(file), **keys}), retriever)

    return read


def test_rows_are_chosen_and_grouped_as_the_spec_says(asking: Asking) -> None:
    assert [(one.question.id, one.question.group, one.passages) for one in asking()] == [
        ("a", "g", None),
        ("2", None, None),
        ("c", None, None),
    ]
    assert [one.question.group for one in asking(group_key="topic")] == [None, "7", None]
    assert [one.question.group for one in asking(group_key=None)] == [None, None, None]
    assert [one.question.id for one in asking(split="eval", limit=1)] == ["a"]
    with pytest.raises(InvalidInput, match="no question has the split 'dev'"):
        asking(split="dev")


def test_gold_passages_are_those_of_the_row_or_the_relevant_documents(asking: Asking, tmp_path: Path) -> None:
    own = asking(passages="gold")
    assert [one.passages for one in own] == [(), (Given("Nobody knows who."),), (Given("One."), Given("Two."))]
    corpus = tmp_path / "documents.jsonl"
    corpus.write_text('{"id": "d1", "text": "First."}\n{"id": "d2", "title": "T", "text": "Second."}\n')
    named = asking(passages="gold", corpus=str(corpus))
    assert named[0].passages == (Given("First.", "d1"), Given("Second.", "d2", title="T"))
    assert [one.passages for one in named[1:]] == [(), ()]
    corpus.write_text('{"id": "d1", "text": "First."}\n')
    with pytest.raises(InvalidInput, match="1 documents that questions name are not there, among them 'd2'"):
        asking(passages="gold", corpus=str(corpus))
    with pytest.raises(InvalidInput, match="no question has a passage in its column context"):
        asking(passages="gold", evidence_key="context")


def test_what_is_asked_reads_back_as_it_was_written(asking: Asking) -> None:
    def found(queries: Sequence[str], search: Search) -> list[list[Passage]]:
        assert search.passages == 2
        return [[Passage(1, 0.5, Chunk(f"c{query}", "d1", 0, 4, "Text"), "T", "s", {})] for query in queries]

    rows = [row | {"choices": ["x", "y"], "correct": "y"} for row in ROWS]
    keys = {"passages": "index", "retrieval": {"index": "i", "passages": 2}, "format": "multiple_choice"}
    asked = asking(rows, found, **keys)
    assert asked[0].passages == (Given("Text", "d1", "cWhere?", "T", 0.5),)
    assert [Asked.of(json.loads(json.dumps(one.record()))) for one in asked] == asked


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({}, "has no choices, mc1_targets or hallucinated_answer"),
        ({"choices": ["x", "y"]}, "has choices that are no list, or no word in correct"),
        ({"choices": ["x", "y"], "correct": 2}, "has 2 in correct, which is no choice"),
        ({"choices": ["x", "y"], "correct": [0, 1]}, "has choices that are all right or all wrong"),
        ({"choices": ["x", "y", "x"], "correct": 0}, "has the choice 'x' as right and as wrong"),
        ({"choices": ["x", " "], "correct": 0}, "has a choice in choices that is no text"),
        ({"mc1_targets": {"choices": ["x", "y"], "labels": [1]}}, "labels are not a 0 or 1 for each choice"),
        ({"mc1_targets": [1]}, "has mc1_targets that are no choices with labels"),
        ({"hallucinated_answer": "x"}, "has a choice in right_answer that is no text"),
    ],
)
def test_broken_choices_are_named_by_their_line(asking: Asking, columns: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as refused:
        asking([{"question": "Where?", "choices": ["x", "y"], "correct": 0}, {"question": "Who?", **columns}],
               format="multiple_choice")  # fmt: skip
    assert str(refused.value.where).endswith("questions.jsonl:2")


def test_choices_of_every_form_say_the_same() -> None:
    golden = choices_of({"choices": ["a", "b", "c"], "correct": [0]})
    assert (golden.best, golden.right, golden.wrong, golden.wrong_beside_best) == ("a", ("a",), ("b", "c"), ("b", "c"))
    assert choices_of({"choices": ["a", "b", "c"], "correct": "a"}) == golden
    assert choices_of({"mc1_targets": {"choices": ["b", "a", "c"], "labels": [0, 1, 0]}}) == golden
    assert choices_of({"mc1_targets": {"a": 1, "b": 0, "c": 0}, "mc2_targets": None}) == golden
    assert choices_of({"right_answer": "a", "hallucinated_answer": "b"}).texts == ("a", "b")


@pytest.mark.parametrize(
    ("outcome", "known", "supported", "cause"),
    [
        ("correct", (True, False, False), False, None),
        ("abstained", (False, False, None), False, None),
        ("abstained", (None, True, None), False, None),
        ("undetermined", (None, False, False), False, None),
        ("hallucinated", (False, False, None), True, "answered_unanswerable"),
        ("hallucinated", (True, False, False), True, "retrieval_miss"),
        ("abstained", (True, False, False), False, "retrieval_miss"),
        ("abstained", (True, False, True), False, "over_refusal"),
        ("abstained", (True, True, None), False, "over_refusal"),
        ("hallucinated", (True, True, None), False, "fabrication"),
        ("hallucinated", (None, False, None), True, "fabrication"),
        ("hallucinated", (True, False, True), True, "passage_misread"),
        ("hallucinated", (True, False, True), False, "passage_ignored"),
    ],
)
def test_a_failure_has_the_first_cause_that_holds(
    outcome: Outcome, known: tuple[bool | None, bool, bool | None], supported: bool, cause: Cause | None
) -> None:
    answerable, closed_book, hit = known
    claims = [ScoredClaim("Ono", (), 1.0, False), ScoredClaim("Zelt", (), 1.0, supported)]
    found = cause_of(outcome, answerable=answerable, closed_book=closed_book, hit=hit, claims=claims)
    assert found == cause


def test_passages_are_judged_by_document_or_else_by_the_answer_and_those_of_the_row_are_right() -> None:
    question = Question("q", "Where?", ("Ono",), True, {"d1": 1, "d2": 2, "d3": 0})
    given = (Given("In Zelt.", "d1"), Given("In Ono.", "d9"))
    assert retrieved(Asked(question, given), given) == (True, 0.5)
    assert retrieved(Asked(question, given), given[1:]) == (False, 0.0)
    assert retrieved(Asked(question, ()), ()) == (False, 0.0)
    unjudged = Question("q", "Where?", ("Ono",), True)
    assert retrieved(Asked(unjudged, given), given) == (True, None)
    assert retrieved(Asked(unjudged, given), given[:1]) == (False, None)
    assert retrieved(Asked(Question("q", "Where?"), given), given) == (None, None)
    assert retrieved(Asked(Question("q", "Where?", (), False), given), given) == (None, None)
    assert retrieved(Asked(question, None), ()) == (None, None)
    own = (Given("In Zelt."),)
    assert retrieved(Asked(question, own), own) == (True, None)


def test_answers_agree_when_they_say_the_same_and_all_abstentions_do() -> None:
    phrases = ("unknown", "i don't know")
    assert agreement("Ono", ["ono.", "The Ono", "Zelt", "unknown"], phrases) == 0.5
    assert agreement("unknown", ["I don't know.", "Ono"], phrases) == 0.5
    assert agreement("Ono", [], phrases) is None
