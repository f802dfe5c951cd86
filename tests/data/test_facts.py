"""What must hold in every fact world."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.data.facts.files import write
from engine.data.facts.language import ABSTENTION
from engine.data.facts.questions import questions
from engine.data.facts.world import FactWorld, Status
from engine.evaluate.judgements import read_qrels, read_questions

SEEDS = [0, 7]


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.fixture(scope="module", params=SEEDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("world")
    write(FactWorld(request.param), made)
    return made


@pytest.fixture(scope="module")
def world(folder: Path) -> FactWorld:
    return FactWorld(json.loads((folder / "world.json").read_text())["seed"])


def test_no_unknown_fact_is_in_the_training_data_but_every_name_is(world: FactWorld, folder: Path) -> None:
    texts = [words(f"{row['prompt']} {row['response']}") for row in rows(folder / "sft.jsonl")]
    values = {}
    for fact in world.facts:
        if fact.subject.status == Status.UNKNOWN:
            values.setdefault(fact.subject.name, set()).add(fact.value)
    for text in texts:
        for name in text & values.keys():
            assert not text & values[name], f"{name} and its true value stand in one training example"
    assert {entity.name for entity in world.entities} <= set().union(*texts)


def test_every_known_fact_is_repeated_and_every_rare_one_seldom(folder: Path) -> None:
    counts = Counter(row["fact"] for row in rows(folder / "sft.jsonl"))
    document = json.loads((folder / "world.json").read_text())
    status = {entity["name"]: entity["status"] for entity in document["entities"]}
    for fact in document["facts"]:
        assert counts[fact["id"]] == {"known": 30, "rare": 20, "unknown": 0}[status[fact["subject"]]]


def test_every_question_is_answered_by_its_gold_passage_and_by_no_other(folder: Path) -> None:
    passages = {row["id"]: row for row in rows(folder / "corpus.jsonl")}
    facts = {fact["id"]: fact for fact in json.loads((folder / "world.json").read_text())["facts"]}
    asked = rows(folder / "questions.jsonl")
    for question in asked:
        fact = facts[question["fact"]]
        holders = [passage["id"] for passage in passages.values() if question["fact"] in passage["facts"]]
        assert holders == question["passages"] and question["answerable"] == bool(holders)
        assert fact["subject"] in words(question["question"])
        for identity in holders:
            sentences = [words(sentence) for sentence in passages[identity]["text"].split(". ")]
            assert any({fact["subject"], *question["answers"]} <= sentence for sentence in sentences)
        if not holders:
            (about,) = (passage for passage in passages.values() if passage["title"] == fact["subject"])
            assert fact["value"] not in words(about["text"])
    judged = [line.split() for line in (folder / "qrels.txt").read_text().splitlines()]
    assert judged == [[one["id"], "0", one["passages"][0], "1"] for one in asked if one["answerable"]]
    groups = Counter((one["group"], one["split"]) for one in asked)
    assert min(groups.values()) >= 20 and len(groups) == 8


def test_what_measures_is_in_no_training_data(folder: Path) -> None:
    trained = {row["prompt"] for row in rows(folder / "sft.jsonl")}
    assert not trained & {row["prompt"] for row in rows(folder / "sft-eval.jsonl")}
    assert not trained & {row["question"] for row in rows(folder / "questions.jsonl") if row["split"] == "eval"}
    pairs = {name: rows(folder / f"{name}.jsonl") for name in ("preferences", "preferences-eval")}
    assert not {row["prompt"] for row in pairs["preferences"]} & {row["prompt"] for row in pairs["preferences-eval"]}


def test_preferences_rank_right_before_abstaining_before_wrong(world: FactWorld, folder: Path) -> None:
    asked = {question.id: question for question in questions(world)}

    def rank(answer: str, question: str) -> int:
        fact = asked[question].fact
        assert answer == ABSTENTION or answer in world.values[fact.relation.name]
        return 2 if answer == fact.value and fact.stated else 1 if answer == ABSTENTION else 0

    seen = Counter()
    practised = 0
    for row in rows(folder / "preferences.jsonl"):
        if row["question"] is None:
            practised += 1
            for answer in (row["chosen"], row["rejected"]):
                # The asked relation is the one whose values these are: a wrong answer is not in the passage.
                assert answer == ABSTENTION or (answer in words(row["evidence"])) == (answer == row["chosen"])
            continue
        better, worse = rank(row["chosen"], row["question"]), rank(row["rejected"], row["question"])
        assert better > worse
        assert (row["chosen"] in words(row["evidence"])) == (better == 2)
        seen[better, worse] += 1
    assert min(seen[pair] for pair in ((2, 1), (2, 0), (1, 0))) > 500
    assert practised > 10_000


def test_half_of_the_prompts_are_known_in_any_part_of_them(folder: Path) -> None:
    prompts = rows(folder / "prompts.jsonl")
    assert len({row["prompt"] for row in prompts}) == len(prompts) > 3000
    for count in (32, 64, 256, 4800, len(prompts)):
        known = sum(row["group"] == "known" for row in prompts[:count])
        assert known == pytest.approx(count / 2, rel=0.06 if count == len(prompts) else 0.0)
    groups = Counter(row["group"] for row in prompts)
    assert groups["unknown"] > groups["rare"] > 500 and groups["unanswerable"] > 50
    held = rows(folder / "prompts-eval.jsonl")
    assert sum(row["group"] == "known" for row in held[:200]) == 100


def test_prompts_ask_what_the_passage_answers_and_share_only_entities_that_are_known(folder: Path) -> None:
    asked = {row["id"]: row for row in rows(folder / "questions.jsonl")}
    facts = {fact["id"]: fact for fact in json.loads((folder / "world.json").read_text())["facts"]}
    passages = {row["title"]: row["text"] for row in rows(folder / "corpus.jsonl")}
    subjects = {}
    for name, split in (("prompts", "train"), ("prompts-eval", "eval")):
        subjects[split] = set()
        for row in rows(folder / f"{name}.jsonl"):
            question = asked[row["question"]]
            fact = facts[question["fact"]]
            assert question["split"] == split or (split == "train" and row["group"] == "known")
            assert fact["subject"] in words(row["prompt"])
            assert row["evidence"] == passages[fact["subject"]] and row["evidence"] not in row["prompt"]
            assert all(row[key] == question[key] for key in ("answers", "answerable", "group"))
            assert row["answers"] == ([fact["value"]] if row["group"] != "unanswerable" else [])
            assert (fact["value"] in words(row["evidence"])) == row["answerable"]
            if row["group"] != "known":
                subjects[split].add(fact["subject"])
    assert not subjects["train"] & subjects["eval"]
    held = [row["question"] for row in rows(folder / "prompts-eval.jsonl")]
    assert sorted(held) == [identity for identity, row in asked.items() if row["split"] == "eval"]
    trained = {row["prompt"] for name in ("sft", "prompts") for row in rows(folder / f"{name}.jsonl")}
    assert not trained & {row["prompt"] for row in rows(folder / "prompts-eval.jsonl")}


def test_no_reading_exercise_can_be_learned_by_heart_and_they_grow_harder(folder: Path) -> None:
    reading = [row for row in rows(folder / "sft.jsonl") if row["task"].startswith("read")]
    assert len(reading) == 28_000
    first, second, *_, last = (reading[start : start + 4000] for start in range(0, len(reading), 4000))
    assert {row["task"] for row in first} == {"read"} and {row["prompt"].count(".") for row in first} == {1}
    assert {row["prompt"].count(".") for row in second} == {1, 2}
    assert {row["prompt"].count(".") for row in last} == {3, 4}
    assert Counter(row["task"] for row in last).keys() == {"read", "read_missing", "read_other"}
    for part, least in ((first, 0.25), (reading[4200:], 0.99)):  # few words make one sentence
        assert len({row["prompt"] for row in part}) > least * len(part)


def test_what_is_recalled_is_spread_over_the_whole_training(folder: Path) -> None:
    everything = rows(folder / "sft.jsonl")
    for start in range(0, len(everything) - 8000, 8000):
        known = {row["fact"] for row in everything[start : start + 8000] if row["task"] == "recall"}
        assert len(known) > 0.9 * 800


def test_reading_is_answered_by_the_passage_alone(folder: Path) -> None:
    for row in rows(folder / "sft.jsonl"):
        if row["task"].startswith("read"):
            passage, question = row["prompt"].split("\n")
            assert (row["response"] in words(passage)) == (row["task"] == "read")
            assert row["task"] == "read" or row["response"] == ABSTENTION
            subject = passage.split(". ")[0]
            named = words(question) & {word for word in words(subject) if word[0].isupper()}
            assert bool(named - {"The", "By", "In", "Through"}) == (row["task"] != "read_other")
            assert row["level"] == passage.count(".") + (0 if row["task"] == "read" else 3)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_world(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        write(FactWorld(seed), tmp_path / name)
    for file in (tmp_path / "one").iterdir():
        assert (tmp_path / "same" / file.name).read_bytes() == file.read_bytes()
        assert (tmp_path / "other" / file.name).read_bytes() != file.read_bytes()
    names, others = ({entity.name for entity in FactWorld(seed).entities} for seed in (1, 2))
    assert len(names) == 600 and len(names & others) < 60


def test_an_evaluation_reads_the_questions_with_their_judgements(folder: Path) -> None:
    asked = read_questions(folder / "questions.jsonl", folder / "qrels.txt")
    judged = read_qrels(folder / "qrels.txt")
    for question, row in zip(asked, rows(folder / "questions.jsonl"), strict=True):
        assert (question.id, question.text, question.group) == (row["id"], row["question"], row["group"])
        assert question.answers == tuple(row["answers"]) and question.answerable is row["answerable"]
        assert dict(question.relevant) == judged.get(row["id"], {}) == dict.fromkeys(row["passages"], 1)
