"""The tokens that a policy and a reward model read before an answer: those of their training data."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from engine.data.examples import load_examples
from engine.data.pairs import load_pairs
from engine.data.prompts import Prompt, judged_ids, load_prompts, opened
from engine.data.templates import PLAIN
from engine.data.tokenizers import train_tokenizer
from engine.errors import InvalidInput
from engine.spec.models import PreferenceData
from engine.spec.ppo import PromptData
from engine.spec.sections import Data, Tokenizer
from tests.data.conftest import WriteRows, word_tokenizer

ASKED = {"role": "user", "content": "Where was Ono born?"}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who is Ada?"},
    {"role": "assistant", "content": "A baker."},
    ASKED,
    {"role": "assistant", "content": "In Zelt."},
]
# Marks no generation; the answer's first token is its own with byte-level pieces too.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# In training an answer begins after a space, where one is asked for it does not.
UNLIKE = PLAIN.replace("{% if add_generation_prompt %}Assistant:", "{% if add_generation_prompt %}Assistant: ")


def tokenizer_of(file: Path, kind: Any, template: str | None) -> Any:
    """A tokenizer trained on the prompts and answers of a file, with a template that it is given."""
    data = Data(train=str(file), format="chat")
    tokenizer = train_tokenizer(Tokenizer(kind=kind), data)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def one(data: PromptData, tokenizer: Any) -> Prompt:
    (prompt,) = load_prompts(data, tokenizer, "train")
    return prompt


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("template", [None, PLAIN, CHATML], ids=["marked", "plain", "without generation marks"])
@pytest.mark.parametrize("turns", [CHAT, CHAT[-2:]], ids=["conversation", "question"])
def test_a_prompt_is_what_precedes_the_answer_in_training(
    write_rows: WriteRows, kind: Any, template: str | None, turns: list[Any]
) -> None:
    trained = write_rows([{"messages": turns}])
    tokenizer = tokenizer_of(trained, kind, template)
    (example,) = load_examples(Data(train=str(trained)), tokenizer, "train")
    asked = write_rows([{"prompt": turns[:-1]}], "asked.jsonl")
    for file in (trained, asked):  # with its last answer, and without
        prompt = one(PromptData(train=str(file)), tokenizer)
        assert list(prompt.ids) == list(example.input_ids[: example.prompt_length])
        assert len(prompt) == example.prompt_length and prompt.text == "Where was Ono born?"


def test_a_text_is_a_message_of_the_user(write_rows: WriteRows) -> None:
    tokenizer = word_tokenizer(write_rows([{"messages": CHAT}]))
    text = write_rows([{"prompt": "Where was Ono born?"}], "text.jsonl")
    chat = write_rows([{"prompt": [ASKED]}], "chat.jsonl")
    prompt = one(PromptData(train=str(text)), tokenizer)
    assert prompt.ids == one(PromptData(train=str(chat)), tokenizer).ids
    words = "<|bos|> <|user|> Where was Ono born ? <|assistant|>"
    assert [tokenizer.decode([token]) for token in prompt.ids] == words.split()


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("template", [None, PLAIN, CHATML], ids=["marked", "plain", "without generation marks"])
@pytest.mark.parametrize("evidence", ["Ono is of Zelt.", None])
def test_a_reward_model_reads_before_an_answer_what_it_read_in_training(
    write_rows: WriteRows, kind: Any, template: str | None, evidence: str | None
) -> None:
    row = {"prompt": ASKED["content"], "chosen": "In Zelt.", "rejected": "unknown", "evidence": evidence}
    pairs = PreferenceData(train=str(write_rows([row])))
    tokenizer = train_tokenizer(Tokenizer(kind=kind), pairs)
    if template is not None:
        tokenizer.chat_template = template
    (pair,) = load_pairs(pairs, tokenizer, "train")
    (judged,) = judged_ids(load_prompts(PromptData(train=pairs.train), tokenizer, "train"), tokenizer)
    for sequence, answer in ((pair.chosen, "In Zelt."), (pair.rejected, "unknown")):
        assert list(sequence[: len(judged)]) == list(judged)
        assert tokenizer.decode(list(sequence[len(judged) : -1])).strip() == answer


def test_a_passage_stands_before_the_last_question_alone_and_the_policy_does_not_see_it(write_rows: WriteRows) -> None:
    passage = "Ono is of Zelt."
    file = write_rows([{"prompt": CHAT, "evidence": passage}])
    read = {"role": "user", "content": f"{passage}\nWho is it?"}
    tokenizer = word_tokenizer(write_rows([{"messages": [*CHAT, read]}], "all.jsonl"))
    prompt = one(PromptData(train=str(file)), tokenizer)
    (judged,) = judged_ids([prompt], tokenizer)
    ada = "<|bos|><|system|> Be brief.<|user|> Who is Ada?<|assistant|> A baker.<|eos|><|user|>"
    assert tokenizer.decode(list(prompt.ids)) == f"{ada} Where was Ono born?<|assistant|>"
    assert tokenizer.decode(list(judged)) == f"{ada} Ono is of Zelt.\nWhere was Ono born?<|assistant|>"
    assert prompt.evidence == passage and passage not in prompt.text
    unseen = one(PromptData(train=str(file), evidence_key=None), tokenizer)
    assert unseen.evidence is None and judged_ids([unseen], tokenizer) == [prompt.ids]


def test_a_reward_model_reads_evidence_or_else_the_passages_once_and_the_bare_question(write_rows: WriteRows) -> None:
    texts = ["Ono is of Zelt.", "Zelt is small."]
    tokenizer = word_tokenizer(
        write_rows([{"messages": [*CHAT, {"role": "user", "content": "\n".join(texts)}]}], "all.jsonl")
    )
    rows = [{"prompt": CHAT, "evidence": texts[0]}, {"prompt": CHAT}]
    file = write_rows(rows)
    bare = load_prompts(PromptData(train=str(file)), tokenizer, "train")
    asked = [replace(prompt, passages=tuple(texts)) for prompt in bare]
    prompts = opened(asked, ["\n".join([*texts, prompt.text]) for prompt in asked], tokenizer)
    before = tokenizer.decode(list(bare[1].ids)).removesuffix(" Where was Ono born?<|assistant|>")
    both = f"{before} Ono is of Zelt.\nZelt is small.\nWhere was Ono born?<|assistant|>"
    assert [tokenizer.decode(list(prompt.ids)) for prompt in prompts] == [both, both]
    assert [prompt.text for prompt in prompts] == ["Where was Ono born?"] * 2
    true, found = (tokenizer.decode(list(ids)) for ids in judged_ids(prompts, tokenizer))
    assert true == f"{before} Ono is of Zelt.\nWhere was Ono born?<|assistant|>"
    assert found == both
    assert judged_ids(prompts, tokenizer, evidence=False) == [prompt.ids for prompt in bare]


def test_a_template_that_asks_in_another_way_than_it_trains_is_refused(write_rows: WriteRows) -> None:
    file = write_rows([{"prompt": "Where was Ono born?"}])
    trained = write_rows([{"messages": CHAT}], "trained.jsonl")
    with pytest.raises(InvalidInput, match="other tokens before an answer") as caught:
        load_prompts(PromptData(train=str(file)), tokenizer_of(trained, "bpe", UNLIKE), "train")
    assert caught.value.where == f"{file}:1"


def test_a_conversation_that_the_template_refuses_is_named(write_rows: WriteRows) -> None:
    wizard = {"role": "wizard", "content": "Abracadabra"}
    file = write_rows([{"prompt": CHAT}, {"prompt": [wizard, ASKED]}])
    with pytest.raises(InvalidInput, match="wizard") as caught:
        load_prompts(
            PromptData(train=str(file)), word_tokenizer(write_rows([{"messages": CHAT}], "all.jsonl")), "train"
        )
    assert caught.value.where == f"{file}:2"


@pytest.mark.parametrize(
    ("row", "answers", "answerable"),
    [
        ({}, (), None),
        ({"answers": None}, (), None),
        ({"answers": "Zelt"}, ("Zelt",), True),
        ({"answers": ["Zelt", "In Zelt"]}, ("Zelt", "In Zelt"), True),
        ({"answers": {"text": ["Zelt"], "answer_start": [3]}}, ("Zelt",), True),
        ({"answers": []}, (), False),
        ({"answers": {"text": [], "answer_start": []}}, (), False),
        ({"answers": ["Zelt"], "answerable": False}, ("Zelt",), False),
        ({"answerable": False}, (), False),
        ({"answerable": True}, (), True),
        ({"answers": [], "answerable": None}, (), False),
    ],
)
def test_what_a_row_says_of_answers(
    write_rows: WriteRows, row: dict[str, Any], answers: tuple[str, ...], answerable: bool | None
) -> None:
    file = write_rows([{"prompt": "Where was Ono born?", "group": 3, **row}])
    prompt = one(PromptData(train=str(file)), word_tokenizer(write_rows([{"messages": CHAT}], "all.jsonl")))
    assert (prompt.answers, prompt.answerable, prompt.group) == (answers, answerable, "3")


def test_csv_and_parquet_say_the_same_as_json(write_rows: WriteRows, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Where was Ono born?", "answers": "Zelt", "answerable": "true", "evidence": "Ono is of Zelt."},
        {"prompt": "Who is Ada?", "answers": "", "answerable": "False", "evidence": ""},
        {"prompt": "Who?", "answers": "", "answerable": "", "evidence": ""},
    ]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    typed = [
        rows[0] | {"answers": ["Zelt"], "answerable": True},
        rows[1] | {"answers": None, "answerable": False, "evidence": None},
        rows[2] | {"answers": None, "answerable": None, "evidence": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(typed), tmp_path / "rows.parquet")
    tokenizer = word_tokenizer(write_rows([{"messages": CHAT}], "all.jsonl"))
    files = [tmp_path / "rows.csv", tmp_path / "rows.parquet", write_rows(typed)]
    read = [load_prompts(PromptData(train=str(file)), tokenizer, "train") for file in files]
    said = [[(one.ids, one.answers, one.answerable, one.evidence) for one in prompts] for prompts in read]
    assert said[0] == said[1] == said[2]
    assert [one[1:] for one in said[0]] == [(("Zelt",), True, "Ono is of Zelt."), ((), False, None), ((), None, None)]


def test_questions_of_the_fact_world_are_prompts(facts: Path) -> None:
    tokenizer = word_tokenizer(facts / "sft.jsonl")
    data = PromptData(train=str(facts / "sft.jsonl"), eval=str(facts / "questions.jsonl"))
    prompts = load_prompts(data, tokenizer, "eval")
    assert len(prompts) == len((facts / "questions.jsonl").read_text().splitlines())
    assert {prompt.group for prompt in prompts} == {"known", "rare", "unknown", "unanswerable"}
    for prompt in prompts:
        assert prompt.answerable == bool(prompt.answers) == (prompt.group != "unanswerable")
        assert tokenizer.unk_token_id not in prompt.ids


def test_no_evaluation_file_is_no_evaluation_prompt(write_rows: WriteRows) -> None:
    file = write_rows([{"prompt": "Who?"}])
    tokenizer = word_tokenizer(write_rows([{"messages": CHAT}], "all.jsonl"))
    assert load_prompts(PromptData(train=str(file)), tokenizer, "eval") == []
    assert len(load_prompts(PromptData(train=str(file), eval=str(file)), tokenizer, "eval")) == 1


def test_prompts_that_are_too_long_are_left_out_and_told(
    write_rows: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = word_tokenizer(write_rows([{"messages": CHAT}], "all.jsonl"))
    file = write_rows([{"prompt": "Who is Ada?"}, {"prompt": "Who is Ada? Where was Ono born?"}])
    with caplog.at_level(logging.WARNING):
        (prompt,) = load_prompts(PromptData(train=str(file), max_prompt_length=7), tokenizer, "train")
    assert prompt.place.endswith(":1") and len(prompt) == 7  # just fits
    assert "1 of 2 prompts are longer than max_prompt_length 7 and are left out" in caplog.text


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "Who?"}, "has no 'prompt'; it has text"),
        ({"prompt": " "}, "has an empty 'prompt'"),
        ({"prompt": 3}, "no text but int"),
        ({"prompt": []}, "has no message of the user under 'prompt'"),
        ({"prompt": [CHAT[-1]]}, "has no message of the user under 'prompt'"),
        ({"prompt": [{"role": "user"}]}, "message 1 without role and content"),
        ({"prompt": "Who?", "answers": [3]}, "has 'answers' that are neither a text nor a list of texts"),
        ({"prompt": "Who?", "answers": [""]}, "has 'answers' that are neither a text nor a list of texts"),
        ({"prompt": "Who?", "answerable": "perhaps"}, "has an 'answerable' that is neither true nor false"),
        ({"prompt": "Who?", "evidence": ["Ono"]}, "has a 'evidence' that is no text but list"),
    ],
)
def test_a_broken_row_is_named_or_skipped(write_rows: WriteRows, row: dict[str, Any], says: str) -> None:
    tokenizer = word_tokenizer(write_rows([{"messages": CHAT}], "all.jsonl"))
    good = {"prompt": "Who is Ada?"}
    file = write_rows([good, row, good])
    with pytest.raises(InvalidInput) as caught:
        load_prompts(PromptData(train=str(file)), tokenizer, "train")
    assert caught.value.where == f"{file}:2" and says in str(caught.value)
    kept = load_prompts(PromptData(train=str(file), on_broken_row="skip"), tokenizer, "train")
    assert [prompt.place for prompt in kept] == [f"{file}:1", f"{file}:3"]
