"""Published question files as rows: nothing that measures is trained on, and every row is what its file says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.conversations import as_question
from engine.data.published.halueval_files import halueval_files
from engine.data.published.squad import read_squad
from engine.data.published.squad_files import Shares, _passage, squad_files
from engine.data.sentences import sentences
from engine.data.writing import write_files
from engine.errors import InvalidInput


def rows(files: dict[str, str], name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files[name].splitlines()]


def test_no_question_and_no_article_of_squads_held_out_part_is_in_training(squad: Path) -> None:
    files = squad_files(squad, seed=0, sentences_read=1)
    questions = {row["id"]: row for row in rows(files, "questions.jsonl")}
    articles = {
        split: {row["article"] for row in questions.values() if row["split"] == split} for split in ("train", "eval")
    }
    assert not articles["train"] & articles["eval"]
    held_out = [row for row in questions.values() if row["split"] == "eval"]
    assert 0.25 <= len(held_out) / len(questions) < 0.4
    words = {as_question(row["question"]) for row in held_out}
    for name in ("sft.jsonl", "prompts.jsonl"):
        for row in rows(files, name):
            assert questions[row["question"]]["split"] == "train"
            assert as_question(row["prompt"].splitlines()[-1]) not in words
    for name in ("sft-eval.jsonl", "prompts-eval.jsonl"):
        assert {questions[row["question"]]["split"] for row in rows(files, name)} == {"eval"}
    # The first so many are a sample: of several articles, answerable or not.
    assert len({row["article"] for row in held_out[:50]}) > 2
    assert {row["group"] for row in held_out[:400]} == {"answerable", "unanswerable"}


def test_squads_examples_are_answered_from_their_passage_or_abstain(squad: Path) -> None:
    files = squad_files(squad, seed=0, sentences_read=1, shares=Shares(missing=0.2))
    questions = {row["id"]: row for row in rows(files, "questions.jsonl")}
    texts = {row["id"]: row["text"] for row in rows(files, "corpus.jsonl")}
    assert list(texts) == [paragraph.id for paragraph in read_squad(squad)]
    examples = rows(files, "sft.jsonl")
    for row in examples:
        passage, _, asked = row["prompt"].rpartition("\n")
        own = questions[row["question"]]
        assert asked.strip() == own["question"].splitlines()[-1].strip()
        assert bool(passage) == row["task"].startswith("read") and passage in own["evidence"]
        if row["task"] in ("read", "guess"):
            assert row["response"] in own["answers"] and own["answerable"]
            assert not passage or row["response"] in passage
        else:
            assert row["response"] == "unknown" and not own["answerable"]
    counts = Counter(row["task"] for row in examples)
    answered = counts["read"]
    unanswered = sum(not row["answerable"] and row["split"] == "train" for row in questions.values())
    assert counts["guess"] == answered
    assert counts["read_missing"] == min(unanswered, round(answered * 0.2 / 0.8))
    assert counts["abstain"] == min(unanswered, round(answered * 0.06 / 0.94))
    for row in questions.values():
        assert row["passages"] == (
            [next(name for name, text in texts.items() if text == row["evidence"])] if row["answerable"] else []
        )


def test_the_same_seed_gives_the_same_bytes_and_another_one_another_split(squad: Path, halueval: Path) -> None:
    assert squad_files(squad, seed=3) == squad_files(squad, seed=3)
    assert halueval_files(halueval, seed=3) == halueval_files(halueval, seed=3)
    assert squad_files(squad, seed=3)["prompts-eval.jsonl"] != squad_files(squad, seed=4)["prompts-eval.jsonl"]
    first, second = (halueval_files(halueval, seed=seed) for seed in (3, 4))
    held_out = [{row["question"] for row in rows(files, "preferences-eval.jsonl")} for files in (first, second)]
    assert held_out[0] != held_out[1]


def test_halueval_gives_a_pair_of_each_kind_a_question_and_holds_questions_out(halueval: Path) -> None:
    files = halueval_files(halueval, seed=0)
    train, measured = (rows(files, name) for name in ("preferences.jsonl", "preferences-eval.jsonl"))
    assert not {as_question(row["prompt"]) for row in train} & {as_question(row["prompt"]) for row in measured}
    assert len(measured) / len(train + measured) == pytest.approx(0.2, abs=0.02)
    listed = [json.loads(line) for line in halueval.read_text().splitlines()]
    assert len(train) + len(measured) == 3 * len(listed)
    by_words = {(row["knowledge"].strip(), row["question"].strip()): row for row in listed}
    for row in train + measured:
        given = by_words[row["evidence"], row["prompt"]]
        right, hallucinated = given["right_answer"].strip(), given["hallucinated_answer"].strip()
        assert (row["chosen"], row["rejected"]) == {
            "correct_over_wrong": (right, hallucinated),
            "correct_over_abstained": (right, "unknown"),
            "abstained_over_wrong": ("unknown", hallucinated),
        }[row["group"]]
    passages = {row["id"]: row["text"] for row in rows(files, "corpus.jsonl")}
    for row in rows(files, "questions.jsonl"):
        assert [passages[name] for name in row["passages"]] == [row["evidence"]]


@given(
    st.lists(st.sampled_from(["It is so.", "He went (in 1066) there!", "Why?", "Dr. No won 3.5 m."]), min_size=1),
    st.data(),
)
def test_a_passage_holds_the_stretch_and_as_many_sentences_as_are_asked_for(
    parts: list[str], data: st.DataObject
) -> None:
    text = " ".join(parts)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, min(len(text), start + 12)))
    count = data.draw(st.integers(0, 6))
    passage = _passage(text, (start, end), count)
    assert passage in text and text[start:end].strip() in passage
    assert count == 0 or len(sentences(passage)) >= min(count, len(sentences(text)))
    assert _passage(text, None, count).startswith(text[:1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"data": [{"title": "a", "paragraphs": [{"context": "x", "qas": []}]}]}', "no two articles"),
        ('{"data": 3}', "is not SQuAD"),
        ("[", "is not JSON"),
    ],
)
def test_a_file_that_is_not_squads_or_cannot_be_split_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=problem):
        squad_files(file, seed=0)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"knowledge": "k", "question": "q", "right_answer": "a", "hallucinated_answer": "a "},
            "the same text as right",
        ),
        ({"knowledge": "k", "question": "q", "right_answer": "a"}, "hallucinated_answer"),
        ({"knowledge": "k", "question": "q", "right_answer": "a", "hallucinated_answer": "b"}, "no two questions"),
    ],
)
def test_a_file_that_is_not_halueval_is_refused(tmp_path: Path, row: dict[str, str], problem: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(InvalidInput, match=problem):
        halueval_files(file, seed=0)


def test_half_a_surrogate_pair_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="surrogate"):
        write_files(tmp_path, {"x.jsonl": "\ud800"})
