"""What the rows of each format say about which answer is better, and what is held out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.data.conversations import as_question
from engine.data.preferences import Preference, read_preferences
from engine.data.sources import BrokenRows
from engine.errors import InvalidInput
from engine.spec.models import PreferenceData
from tests.data.conftest import WriteRows

PAIR = {"prompt": "Where was Ono born?", "chosen": "In Zelt.", "rejected": "In Rom."}


def read(file: Path, split: Any = "train", **settings: Any) -> list[Preference]:
    broken = BrokenRows("error")
    found = list(read_preferences(PreferenceData(train=str(file), **settings), split, broken))
    broken.report(len(found))
    return found


def answers(pairs: list[Preference]) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in pairs]


def judged_row(question: str, answer: str, verdict: str) -> dict[str, str]:
    return {"prompt": f"Q: {question}\nA: {answer}\nTrue:", "completion": f" {verdict}"}


def test_a_pair_has_its_passage_before_the_prompt_and_its_group(write_rows: WriteRows) -> None:
    file = write_rows([PAIR | {"evidence": "Ono is from Zelt.", "group": "near"}, PAIR])
    first, second = read(file)
    assert (first.prompt, first.group, first.place) == (
        "Ono is from Zelt.\nWhere was Ono born?",
        "near",
        f"{file}:1",
    )
    assert (second.prompt, second.group) == ("Where was Ono born?", None)
    assert first.question == second.question == "where was ono born?"
    assert read(file, evidence_key=None)[0].prompt == "Where was Ono born?"
    assert answers([first]) == [("In Zelt.", "In Rom.")]


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "folder"])
def test_columns_are_named_and_read_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    import pyarrow
    from pyarrow import csv, parquet

    columns = {"q": ["a?", "b?"], "good": ["1", "2"], "bad": ["3", "4"]}
    file, table = tmp_path / name, pyarrow.table(columns)
    if name == "folder":
        file.mkdir()
        (file / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
        with pyarrow.ipc.new_stream(str(file / "data.arrow"), table.schema) as stream:
            stream.write_table(table)
    else:
        csv.write_csv(table, file) if name.endswith("csv") else parquet.write_table(table, file)
    found = read(file, prompt_key="q", chosen_key="good", rejected_key="bad")
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in found] == [("a?", "1", "3"), ("b?", "2", "4")]


@pytest.mark.parametrize("key", [{"scores": [2.0, 5, 2.0, -1]}, {"ranks": [2, 1, 2, 3]}])
def test_k_answers_give_each_pair_of_which_one_is_better(write_rows: WriteRows, key: dict[str, Any]) -> None:
    file = write_rows([{"prompt": "?", "answers": ["b", "a", "B", "c"], **key}])
    assert sorted(answers(read(file))) == [("B", "c"), ("a", "B"), ("a", "b"), ("a", "c"), ("b", "c")]
    capped = read(file, pairs_per_question=2)
    assert len(capped) == 2 and capped == read(file, pairs_per_question=2)


def test_judged_answers_are_crossed_and_those_judged_both_ways_are_neither(write_rows: WriteRows) -> None:
    file = write_rows(
        [
            judged_row("Why?", "one", "yes"),
            judged_row("Why?", "Two", "yes"),
            judged_row("why?", "both", "yes"),
            judged_row("Why?", "Both", "no"),
            judged_row("Why?", "three", "no"),
            judged_row("Why?", "three", "no"),
            judged_row("Why?", "four", "no"),
            judged_row("Only true?", "five", "yes"),
        ]
    )
    found = answers(read(file))
    assert sorted(found) == [("Two", "four"), ("Two", "three"), ("one", "four"), ("one", "three")]
    capped = answers(read(file, pairs_per_question=2))
    assert {better for better, _ in capped} == {"one", "Two"} and {worse for _, worse in capped} == {"three", "four"}


def test_no_question_of_the_judged_answers_is_in_both_splits_and_none_exceeds_the_cap(judged: Path) -> None:
    settings = {"format": "truth_judged", "eval_fraction": 0.1, "pairs_per_question": 16}
    train, held_out = read(judged, "train", **settings), read(judged, "eval", **settings)
    sides = [{pair.question for pair in pairs} for pairs in (train, held_out)]
    assert not sides[0] & sides[1] and 0.05 < len(sides[1]) / len(sides[0] | sides[1]) < 0.15
    counts = Counter(pair.question for pair in train + held_out)
    assert max(counts.values()) <= 16
    every = {(pair.question, pair.chosen, pair.rejected) for pair in train + held_out}
    assert len(every) == len(train) + len(held_out)
    verdicts: dict[tuple[str, str], set[str]] = {}
    for line in judged.read_text().splitlines():
        row = json.loads(line)
        question, _, answer = row["prompt"].removeprefix("Q: ").removesuffix("\nTrue:").partition("\nA: ")
        verdicts.setdefault((as_question(question), as_question(answer)), set()).add(row["completion"].strip())
    for question, chosen, rejected in every:
        assert verdicts[question, as_question(chosen)] == {"yes"}
        assert verdicts[question, as_question(rejected)] == {"no"}


def test_halueval_is_a_passage_a_question_a_right_and_a_hallucinated_answer(halueval: Path) -> None:
    first = json.loads(halueval.read_text().splitlines()[0])
    pair = read(halueval)[0]
    assert pair.prompt == f"{first['knowledge']}\n{first['question']}"
    assert answers([pair]) == [(first["right_answer"], first["hallucinated_answer"])]
    assert read(halueval, evidence_key=None)[0].prompt == first["question"]
    train, held_out = (
        {pair.question for pair in read(halueval, split, eval_fraction=0.2)} for split in ("train", "eval")
    )
    assert not train & held_out


def test_the_fact_worlds_pairs_carry_evidence_and_their_kind(facts: Path) -> None:
    settings = {"eval": str(facts / "preferences-eval.jsonl")}
    train = read(facts / "preferences.jsonl", "train", **settings)
    held_out = read(facts / "preferences.jsonl", "eval", **settings)
    assert not {pair.question for pair in train} & {pair.question for pair in held_out}
    groups = {"correct_over_wrong", "correct_over_abstained", "abstained_over_wrong"}
    assert {pair.group for pair in held_out} == groups
    for pair in held_out:
        evidence, _, question = pair.prompt.partition("\n")
        assert question and (pair.chosen in evidence) == pair.group.startswith("correct")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**PAIR, "rejected": " In Zelt. "}, "the row prefers an answer to itself."),
        ({**PAIR, "chosen": ""}, "the row has an empty 'chosen'."),
        ({**PAIR, "rejected": 3}, "the row has a 'rejected' that is no text but int."),
        ({**PAIR, "evidence": ["a"]}, "the row has a 'evidence' that is no text but list."),
        ({"prompt": "?", "answers": "a"}, "the row has no list of texts under 'answers'."),
        (
            {"prompt": "?", "answers": ["a", "b"], "ranks": [1]},
            "the row has no number for each of its 2 answers under 'scores' or 'ranks'.",
        ),
        (
            {"prompt": "?", "answers": ["a", "b"], "scores": [1, float("nan")]},
            "the row has no number for each of its 2 answers under 'scores' or 'ranks'.",
        ),
        ({"knowledge": "k", "right_answer": "a", "hallucinated_answer": "b"}, "the row has no 'question'"),
        ({"x": 1}, "the columns x fit no format of preference pairs."),
    ],
)
def test_a_row_that_is_no_pair_is_told_in_one_sentence(write_rows: WriteRows, row: dict[str, Any], said: str) -> None:
    file = write_rows([row])
    with pytest.raises(InvalidInput) as caught:
        read(file)
    assert caught.value.message.startswith(said) and caught.value.where == f"{file}:1"


def test_a_judged_row_of_another_form_is_told(write_rows: WriteRows) -> None:
    file = write_rows([judged_row("Why?", "one", "yes"), judged_row("Why?", "two", "perhaps")])
    with pytest.raises(InvalidInput, match="completion yes or no") as caught:
        read(file)
    assert caught.value.where == f"{file}:2"
