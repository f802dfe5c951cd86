"""Which tokens carry loss, what is cut, and what is held out."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from engine.data.conversations import held_out, read_conversations
from engine.data.examples import Example, load_examples
from engine.data.sources import BrokenRows, read_rows
from engine.data.templates import set_template
from engine.data.tokenizers import train_tokenizer
from engine.errors import InvalidInput
from engine.spec.sections import Data, Tokenizer
from tests.data.conftest import WriteRows, word_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Where was Ono born?"},
    {"role": "assistant", "content": "In Zelt."},
    {"role": "user", "content": "And Ada?"},
    {"role": "assistant", "content": "I don't know."},
]
# Its tokens; a star marks those that carry loss.
GOLDEN = (
    "<|bos|> <|system|> Be brief . <|user|> Where was Ono born ? <|assistant|> In* Zelt* .* <|eos|>* "
    "<|user|> And Ada ? <|assistant|> I* don't* know* .* <|eos|>*"
)
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Answers but the last are shortened, as templates do that drop earlier reasoning.
UNSTABLE = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['role'] == 'assistant' and not loop.last %}…{% else %}{{ message['content'] }}{% endif %}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokens(example: Example, tokenizer: Any, *, loss: bool | None = None) -> list[str]:
    """The example's tokens as text; only those that carry loss, or only those that don't."""
    pairs = zip(example.input_ids, example.loss_mask, strict=True)
    return [tokenizer.decode([token]) for token, carries in pairs if loss is None or carries == loss]


word_tokenizer_once = functools.cache(word_tokenizer)


def test_a_conversation_has_its_golden_tokens_and_mask(write_rows: WriteRows) -> None:
    file = write_rows([{"messages": CHAT}])
    tokenizer = word_tokenizer(file)
    (example,) = load_examples(Data(train=str(file)), tokenizer, "train")
    golden = GOLDEN.split()
    assert tokens(example, tokenizer) == [token.rstrip("*") for token in golden]
    assert list(example.loss_mask) == [token.endswith("*") for token in golden]
    assert example.prompt_length == golden.index("I*")
    (everything,) = load_examples(Data(train=str(file), loss_on="all"), tokenizer, "train")
    assert list(everything.loss_mask) == [False] + [True] * (len(golden) - 1)


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("template", [None, CHATML], ids=["its own", "without generation marks"])
def test_the_loss_is_on_the_answers_and_their_end_alone(
    write_rows: WriteRows, tmp_path: Path, kind: Any, template: str | None
) -> None:
    file = write_rows([{"messages": CHAT}])
    data = Data(train=str(file))
    tokenizer = train_tokenizer(Tokenizer(kind=kind), data)
    if template is not None:
        (tmp_path / "chat.jinja").write_text(template)
    set_template(tokenizer, str(tmp_path / "chat.jinja") if template else None)
    (example,) = load_examples(data, tokenizer, "train")
    learned = [token for token, carries in zip(example.input_ids, example.loss_mask, strict=True) if carries]
    answers = [message["content"] for message in CHAT if message["role"] == "assistant"]
    text = tokenizer.decode(learned)
    assert [part.strip() for part in text.split(tokenizer.eos_token)] == [*answers, ""]
    prompt = tokenizer.apply_chat_template(CHAT[:-1], add_generation_prompt=True, return_dict=False)
    assert list(example.input_ids[: example.prompt_length]) == prompt


def test_a_template_whose_prefixes_change_is_refused_with_the_line(write_rows: WriteRows, tmp_path: Path) -> None:
    file = write_rows([{"messages": CHAT[1:3]}, {"messages": CHAT[1:]}])
    tokenizer = word_tokenizer(file)
    (tmp_path / "unstable.jinja").write_text(UNSTABLE)
    set_template(tokenizer, str(tmp_path / "unstable.jinja"))
    with pytest.raises(InvalidInput, match="generation") as caught:
        load_examples(Data(train=str(file)), tokenizer, "train")
    assert caught.value.where == f"{file}:2"


def test_a_conversation_that_the_template_refuses_is_named(write_rows: WriteRows) -> None:
    file = write_rows([{"messages": CHAT}, {"messages": [{"role": "wizard", "content": "Abracadabra"}, CHAT[2]]}])
    with pytest.raises(InvalidInput, match="wizard") as caught:
        load_examples(Data(train=str(file)), word_tokenizer(file), "train")
    assert caught.value.where == f"{file}:2"


def test_a_base_model_without_a_template_gets_the_plain_one(write_rows: WriteRows) -> None:
    file = write_rows([{"prompt": "Where was Ono born?", "response": " In Zelt."}])
    data = Data(train=str(file))
    tokenizer = train_tokenizer(Tokenizer(kind="bpe"), data)
    tokenizer.chat_template = None
    set_template(tokenizer, None)
    (example,) = load_examples(data, tokenizer, "train")
    assert tokenizer.decode(list(example.input_ids)) == "<|bos|>User: Where was Ono born?\nAssistant: In Zelt.<|eos|>"
    assert "".join(tokens(example, tokenizer, loss=True)) == " In Zelt.<|eos|>"


def test_sharegpt_messages_are_the_same_conversation(write_rows: WriteRows) -> None:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    sharegpt = [{"from": names[message["role"]], "value": message["content"]} for message in CHAT]
    file = write_rows([{"messages": CHAT}, {"messages": sharegpt}])
    one, other = load_examples(Data(train=str(file)), word_tokenizer(file), "train")
    assert (one.input_ids, one.loss_mask) == (other.input_ids, other.loss_mask)


@pytest.mark.parametrize("max_length", range(3, 13))
def test_what_is_cut_has_no_end_of_sequence_and_what_fits_has(facts: Path, max_length: int) -> None:
    tokenizer = word_tokenizer_once(facts / "sft.jsonl")
    whole = load_examples(Data(train=str(facts / "sft.jsonl")), tokenizer, "train", limit=50)
    cut = load_examples(Data(train=str(facts / "sft.jsonl"), max_length=max_length), tokenizer, "train", limit=50)
    by_place = {example.place: example for example in whole}
    assert {example.place for example in cut} == {one.place for one in whole if one.prompt_length < max_length}
    for example in cut:
        before = by_place[example.place]
        assert list(example.input_ids) == list(before.input_ids)[:max_length]
        fits = len(before.input_ids) <= max_length
        assert (example.input_ids[-1] == tokenizer.eos_token_id) == fits
        assert all(example.loss_mask[example.prompt_length :]) and not any(example.loss_mask[: example.prompt_length])


def test_text_is_learned_whole_and_ends(write_rows: WriteRows) -> None:
    file = write_rows([{"text": "Ono was born in Zelt."}])
    tokenizer = word_tokenizer(file)
    (example,) = load_examples(Data(train=str(file)), tokenizer, "train")
    assert tokens(example, tokenizer) == ["<|bos|>", "Ono", "was", "born", "in", "Zelt", ".", "<|eos|>"]
    assert list(example.loss_mask) == [False] + [True] * 7 and example.prompt_length == 0


def test_judged_rows_become_their_true_answers_once_each(judged: Path) -> None:
    data = Data(train=str(judged), format="truth_judged")
    found = list(read_conversations(data, "train", BrokenRows("error")))
    pairs = [tuple(message.content for message in one.messages) for one in found]
    assert len(set(pairs)) == len(pairs)
    true = set()
    for row in read_rows(judged, BrokenRows("error")):
        question, _, answer = row.values["prompt"].removeprefix("Q: ").removesuffix("\nTrue:").partition("\nA: ")
        if row.values["completion"] == " yes" and answer.strip():
            true.add((question.strip(), answer.strip()))
    assert set(pairs) == true and len(true) > 1000
    automatic = list(read_conversations(data.model_copy(update={"format": "auto"}), "train", BrokenRows("error")))
    assert automatic == found


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_no_question_is_in_both_splits_and_every_row_is_in_one(judged: Path, fraction: float) -> None:
    data = Data(train=str(judged), format="truth_judged", eval_fraction=fraction)
    whole = list(read_conversations(data.model_copy(update={"eval_fraction": 0.0}), "train", BrokenRows("error")))
    train = list(read_conversations(data, "train", BrokenRows("error")))
    held = list(read_conversations(data, "eval", BrokenRows("error")))
    asked = {one.question for one in held}
    assert not asked & {one.question for one in train}
    assert sorted(one.place for one in [*train, *held]) == sorted(one.place for one in whole)
    assert abs(len(asked) / len({one.question for one in whole}) - fraction) < 0.05


def test_case_and_white_space_make_no_new_question(write_rows: WriteRows) -> None:
    ways = ["Where was Ono born?", "  where was\nONO born? ", "WHERE  was Ono born?"]
    file = write_rows([{"prompt": way, "response": "In Zelt."} for way in ways])
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        split = list(read_conversations(Data(train=str(file), eval_fraction=fraction), "eval", BrokenRows("error")))
        assert len(split) in (0, 3)
    assert len(split) == 3 and held_out("where was ono born?", 1.0)


def test_an_evaluation_file_is_the_whole_evaluation_split(facts: Path) -> None:
    data = Data(train=str(facts / "sft.jsonl"), eval=str(facts / "sft-eval.jsonl"), eval_fraction=0.5)
    train, held = (list(read_conversations(data, split, BrokenRows("error"))) for split in ("train", "eval"))
    for found, name in ((train, "sft"), (held, "sft-eval")):
        assert len(found) == len((facts / f"{name}.jsonl").read_text().splitlines())
    assert list(read_conversations(Data(train=str(facts / "sft.jsonl")), "eval", BrokenRows("error"))) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "Who?"}, "has no 'response'; it has prompt"),
        ({"prompt": "Who?", "response": 3}, "no text but int"),
        ({"prompt": "Who?", "response": " "}, "empty 'response'"),
        ({"prompt": None, "response": "Ono"}, "no text but NoneType"),
        ("{", "is not JSON"),
    ],
)
def test_a_row_that_does_not_fit_is_named_or_skipped(write_rows: WriteRows, row: Any, says: str) -> None:
    good = {"prompt": "Who?", "response": "Ono"}
    file = write_rows([good, row, good])
    tokenizer = word_tokenizer(file, on_broken_row="skip")
    with pytest.raises(InvalidInput) as caught:
        load_examples(Data(train=str(file)), tokenizer, "train")
    assert caught.value.where == f"{file}:2" and says in str(caught.value)
    kept = load_examples(Data(train=str(file), on_broken_row="skip"), tokenizer, "train")
    assert [example.place for example in kept] == [f"{file}:1", f"{file}:3"]


@pytest.mark.parametrize(
    "messages", [[], "text", [CHAT[1]], [{"role": "user"}], [3], [CHAT[1], {"role": "assistant", "content": ""}]]
)
def test_a_conversation_without_an_answer_is_a_broken_row(write_rows: WriteRows, messages: object) -> None:
    file = write_rows([{"messages": CHAT}, {"messages": messages}])
    with pytest.raises(InvalidInput) as caught:
        load_examples(Data(train=str(file)), word_tokenizer(file, on_broken_row="skip"), "train")
    assert caught.value.where == f"{file}:2"


def test_columns_that_fit_no_format_are_listed(write_rows: WriteRows) -> None:
    file = write_rows([{"question": "Who?", "answer": "Ono"}])
    with pytest.raises(InvalidInput, match="question, answer fit no format"):
        word_tokenizer(file)
    keys = {"prompt_key": "question", "response_key": "answer"}
    assert len(load_examples(Data(train=str(file), **keys), word_tokenizer(file, **keys), "train")) == 1
