"""Questions are read from every form in which they come, and what is broken is named by its line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.answers import contains_answer
from engine.data.published.squad import read_squad
from engine.errors import InvalidInput
from engine.evaluate.judgements import Question, judged_by_answers, read_qrels, read_questions
from engine.evaluate.ranking import Measure, ranking_scores

Written = Callable[[str, str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def to_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_rows_name_what_they_know(written: Written) -> None:
    rows = [
        {"id": "a", "question": "Where?", "answers": ["Ono"], "aliases": ["Onoville", "Ono"], "group": "known"},
        {"_id": 7, "text": "Who?", "answerable": False, "passages": ["p1", "p2"]},
        {"query_id": "c", "query": "What?", "answer": "Rime", "answerable": None, "passages": {"p3": 2}},
        {"id": "d", "question": "When?", "group": "", "answers": None},
    ]
    assert read_questions(written("q.jsonl", "\n".join(map(json.dumps, rows)))) == [
        Question("a", "Where?", ("Ono", "Onoville"), True, {}, "known"),
        Question("7", "Who?", (), False, {"p1": 1, "p2": 1}),
        Question("c", "What?", ("Rime",), True, {"p3": 2}),
        Question("d", "When?"),
    ]
    table = written("q.csv", 'id,question,answers,answerable\na,Where?,"[""Ono"", ""Vale""]",TRUE\nb,Who?,,false\n')
    assert read_questions(table) == [
        Question("a", "Where?", ("Ono", "Vale"), True),
        Question("b", "Who?", (), False),
    ]


@pytest.mark.parametrize(
    ("qrels", "text"),
    [
        ("qrels.txt", "q1 0 d1 2\nq1 0 d2 0\n\nq2\t0\td 9\t1\n"),
        ("test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td 9\t1\n"),
    ],
)
@pytest.mark.parametrize(
    ("queries", "lines"),
    [
        ("queries.tsv", "q1\tWhere is it?\nq2\tWho was it?\nq3\tWhy?\n"),
        (
            "queries.jsonl",
            '{"_id":"q1","text":"Where is it?"}\n{"_id":"q2","text":"Who was it?"}\n{"_id":"q3","text":"Why?"}',
        ),
    ],
)
def test_judgements_of_trec_and_beir_are_the_same(
    written: Written, qrels: str, text: str, queries: str, lines: str
) -> None:
    judged = written(qrels, text)
    assert read_qrels(judged) == {"q1": {"d1": 2, "d2": 0}, "q2": {"d 9": 1}}
    assert read_questions(written(queries, lines), judged) == [
        Question("q1", "Where is it?", relevant={"d1": 2, "d2": 0}),
        Question("q2", "Who was it?", relevant={"d 9": 1}),
        Question("q3", "Why?"),
    ]


def squad(**changes: object) -> str:
    asked = {"id": "1", "question": "Where?", "is_impossible": False, "answers": [{"text": "Ono"}, {"text": "Ono"}]}
    trick = {"id": "2", "question": "When?", "is_impossible": True, "answers": [], "plausible_answers": [{"text": "x"}]}
    articles = [
        {"title": "Zelt", "paragraphs": [{"context": "Nothing.", "qas": []}, {"context": "In Ono.", "qas": [asked]}]},
        {"title": "Bavi", "paragraphs": [{"context": "Else.", "qas": [trick | changes]}]},
    ]
    return json.dumps({"version": "v2.0", "data": articles})


def test_squads_gold_paragraph_is_relevant_unless_it_answers_nothing(written: Written) -> None:
    path = written("squad.json", squad())
    assert read_questions(path) == [
        Question("1", "Where?", ("Ono",), True, {"Zelt#1": 1}, "Zelt"),
        Question("2", "When?", (), False, {}, "Bavi"),
    ]
    assert [(one.id, one.title, one.text) for one in read_squad(path)] == [
        ("Zelt#0", "Zelt", "Nothing."),
        ("Zelt#1", "Zelt", "In Ono."),
        ("Bavi#0", "Bavi", "Else."),
    ]


def test_squads_dev_split_is_whole(squad: Path) -> None:
    listed = [paragraph for article in json.loads(squad.read_text())["data"] for paragraph in article["paragraphs"]]
    asked = [question for paragraph in listed for question in paragraph["qas"]]
    questions = read_questions(squad)
    texts = {paragraph.id: paragraph.text for paragraph in read_squad(squad)}
    answerable = [question for question in questions if question.answerable]
    possible = [question for question in asked if not question["is_impossible"]]
    assert (len(questions), len(answerable), len(texts)) == (len(asked), len(possible), len(listed))
    # Every so many: the gold paragraph holds its answer.
    assert all(contains_answer(texts[next(iter(one.relevant))], one.answers) for one in answerable[::29])


def test_where_only_answers_are_known_a_passage_that_holds_one_is_relevant() -> None:
    question = Question("q", "Where?", ("Ono", "Vale"))
    found = [("d1", "It is Onore."), ("d2", "It is the vale."), ("d2", "Nothing."), ("d3", "In Ono!")]
    judged = judged_by_answers(question, found)
    assert judged == {"d2": 1, "d3": 1}
    scores = ranking_scores([[document for document, _ in found]], [judged], [Measure("success", 1), Measure("mrr")])
    assert {name: values.tolist() for name, values in scores.items()} == {"success@1": [0.0], "mrr": [0.5]}
    assert judged_by_answers(dataclasses.replace(question, answers=()), found) == {}


@pytest.mark.parametrize(
    ("name", "text", "line", "problem"),
    [
        ("q.jsonl", '{"id": "a", "question": "?"}\n{"id": "b"}\n', 2, "has no text"),
        ("q.jsonl", '{"question": "Who?"}\n', 1, "has no id"),
        ("q.jsonl", '{"id": "a", "question": "Who?", "answers": [1]}\n', 1, "answers that are no list of texts"),
        ("q.jsonl", '{"id": "a", "question": "Who?", "answerable": "maybe"}\n', 1, "answerable 'maybe'"),
        ("q.jsonl", '{"id": "a", "question": "Who?", "passages": {"p": "x"}}\n', 1, "no whole numbers"),
        ("q.jsonl", '{"id": "a", "question": "Who?"}\n\n{"id": "a", "question": "?"}\n', 3, "id 'a' of an earlier one"),
        ("q.jsonl", '{"id": "a", "question": "Who?"}\n{"id": \n', 2, "is not JSON"),
        ("q.tsv", "a\tWho?\nb\n", 2, "has no text"),
    ],
)
def test_broken_questions_are_named_by_their_line(
    written: Written, name: str, text: str, line: int, problem: str
) -> None:
    path = written(name, text)
    with pytest.raises(InvalidInput, match=problem) as refused:
        read_questions(path)
    assert refused.value.where == f"{path}:{line}" and refused.value.hint


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("q1 0 d1 1\nq1 0 1\n", 2, "is no judgement"),
        ("q1\td1\t1\nq1\td1\n", 2, "is no judgement"),
        ("q1 0 d1 high\n", 1, "'high', which is no whole number"),
        ("q1 0 d1 1\nq1 0 d1 1\nq1 0 d1 2\n", 3, "once more"),
    ],
)
def test_broken_judgements_are_named_by_their_line(written: Written, text: str, line: int, problem: str) -> None:
    path = written("qrels.txt", text)
    with pytest.raises(InvalidInput, match=problem) as refused:
        read_qrels(path)
    assert refused.value.where == f"{path}:{line}"


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "qrels.txt"
    path.write_bytes(b"q1 0 d1 1\nq2 0 d\xff 1\n")
    with pytest.raises(InvalidInput, match="is not UTF-8") as refused:
        read_qrels(path)
    assert refused.value.where == f"{path}:2"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("q.jsonl", "", "there is no question"),
        ("q.json", '{"version": "v2.0", "data": [{"title": "x"}]}', "is not SQuAD"),
        ("q.json", '{"data": [', "is not JSON"),
        ("q.json", squad(answers=None, is_impossible=False), "question of paragraph 'Bavi#0' is broken"),
        ("q.json", squad(id="1"), "two questions have the id '1'"),
    ],
)
def test_a_file_without_questions_is_refused(written: Written, name: str, text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read_questions(written(name, text))


def test_missing_files_and_judgements_of_others_are_refused(written: Written, tmp_path: Path) -> None:
    questions = written("q.tsv", "a\tWho?\n")
    for missing in (tmp_path / "none.jsonl", tmp_path / "none.tsv", tmp_path / "none.json"):
        with pytest.raises(InvalidInput, match="no such file"):
            read_questions(missing)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_qrels(tmp_path / "none.txt")
    with pytest.raises(InvalidInput, match="there is no judgement"):
        read_qrels(written("empty.txt", "\n"))
    with pytest.raises(InvalidInput, match="judges none of the questions") as refused:
        read_questions(questions, written("qrels.txt", "b 0 d1 1\n"))
    assert "'b'" in refused.value.message and "'a'" in (refused.value.hint or "")
