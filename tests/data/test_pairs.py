"""The tokens that a reward model reads: the end-of-sequence token is the last one, once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from engine.data.pairs import load_pairs
from engine.data.templates import set_template
from engine.data.tokenizers import train_tokenizer
from engine.spec.models import PreferenceData
from tests.data.conftest import WriteRows

ROW = {"prompt": "Where was Ono born?", "chosen": "In Zelt.", "rejected": "unknown", "evidence": "Ono is of Zelt."}
GOLDEN = "<|bos|> <|user|> Ono is of Zelt . \n Where was Ono born ? <|assistant|> {} <|eos|>"
# One writes a line break after the end, as ChatML does, the other no end at all.
WITH_TAIL = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
WITHOUT_END = "{% for message in messages %}\n{{ message['role'] }} {{ message['content'] }}{% endfor %}"


def test_both_answers_have_their_golden_tokens(write_rows: WriteRows) -> None:
    data = PreferenceData(train=str(write_rows([ROW])))
    tokenizer = train_tokenizer(None, data)
    (pair,) = load_pairs(data, tokenizer, "train")

    def words(text: str) -> list[str]:
        return [word or "\n" for word in GOLDEN.format(text).replace(" \n ", "  ").split(" ")]

    for ids, answer in ((pair.chosen, "In Zelt ."), (pair.rejected, "unknown")):
        assert [tokenizer.decode([token]).strip(" ") for token in ids] == words(answer)
    assert tokenizer.unk_token_id not in [*pair.chosen, *pair.rejected]


@pytest.mark.parametrize("template", [WITH_TAIL, WITHOUT_END])
def test_nothing_follows_the_end_and_a_template_without_one_gets_it(
    write_rows: WriteRows, tmp_path: Path, template: str
) -> None:
    (tmp_path / "chat.jinja").write_text(template)
    data = PreferenceData(train=str(write_rows([ROW])), evidence_key=None)
    tokenizer = train_tokenizer(None, data)
    set_template(tokenizer, str(tmp_path / "chat.jinja"))
    (pair,) = load_pairs(data, tokenizer, "train")
    for ids, answer in ((pair.chosen, "In Zelt."), (pair.rejected, "unknown")):
        assert ids[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id not in ids[-3:-1]
        assert tokenizer.decode(ids[:-1]).rstrip().endswith(answer)


def test_a_pair_that_is_too_long_is_left_out_whole_and_told(
    write_rows: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    long = ROW | {"rejected": "unknown " * 40}
    data = PreferenceData(train=str(write_rows([ROW, long])), max_length=24)
    tokenizer = train_tokenizer(None, data)
    with caplog.at_level(logging.WARNING):
        (pair,) = load_pairs(data, tokenizer, "train")
    assert pair.preference.place.endswith(":1")
    assert "1 of 2 pairs are longer than max_length 24 and are left out" in caplog.text
