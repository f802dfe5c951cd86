"""Text goes in and comes out again; the same corpus gives the same tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.facts.world import FactWorld
from engine.data.tokenizers import train_tokenizer
from engine.errors import InvalidInput
from engine.generate.models import load_tokenizer
from engine.spec.sections import Data, Tokenizer
from tests.data.conftest import WriteRows, word_tokenizer

TEXTS = [
    "Ono was born in Zelt.",
    'She said: "Zelt (a town), isn\'t it?"',
    "Well-known, 3.5 % of Zelt; why not?!",
    "One line.\nAnother line.",
    "naïve – 東京, Ünïcode",
    "where did ada and bo travel ?",
]


def decoded(tokenizer: Any, text: str) -> str:
    return str(tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True))


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_text_comes_back_also_after_saving(write_rows: WriteRows, tmp_path: Path, kind: Any) -> None:
    file = write_rows([{"text": text} for text in TEXTS])
    train_tokenizer(Tokenizer(kind=kind), Data(train=str(file))).save_pretrained(tmp_path / "saved")
    tokenizer = load_tokenizer(tmp_path / "saved")
    assert [decoded(tokenizer, text) for text in TEXTS] == TEXTS
    conversation = [{"role": "user", "content": TEXTS[0]}, {"role": "assistant", "content": TEXTS[2]}]
    ids = tokenizer.apply_chat_template(conversation, return_dict=False)
    assert tokenizer.decode(ids[ids.index(6) + 1 :], skip_special_tokens=True) == TEXTS[2]


def trained(kind: Any, corpus: str, folder: Path) -> Any:
    """A tokenizer trained on a text."""
    (folder / "corpus.txt").write_text(corpus)
    return train_tokenizer(Tokenizer(kind=kind, corpus=(str(folder / "corpus.txt"),)), Data(train="unused"))


@pytest.fixture(scope="module")
def words_and_marks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained("word", 'Ono Zelt born . , ? ( ) " -\n', tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trained("bpe", "Ono was born in Zelt.", tmp_path_factory.mktemp("corpus"))


@given(words=st.lists(st.sampled_from(["Ono", "Zelt", "born", ".", ",", "?", "(", ")", '"', "\n", "-"]), max_size=12))
def test_known_words_come_back_in_any_order_with_single_spaces(words_and_marks: Any, words: list[str]) -> None:
    text = "  ".join(words)
    lines = (" ".join(line.split()) for line in text.strip().splitlines() if line.strip())
    assert decoded(words_and_marks, text).strip() == "\n".join(lines)


@given(text=st.text())
def test_bytes_hold_any_text(pieces: Any, text: str) -> None:
    assert pieces.decode(pieces(text, add_special_tokens=False)["input_ids"]) == text


def test_every_entity_and_value_of_the_fact_world_is_one_token(facts: Path) -> None:
    world, tokenizer = FactWorld(0), word_tokenizer(facts / "sft.jsonl")
    names = [entity.name for entity in (*world.entities, *world.practice)]
    for word in (*names, *(value for values in world.values.values() for value in values), "unknown"):
        alone = tokenizer(word, add_special_tokens=False)["input_ids"]
        assert len(alone) == 1 and alone != [tokenizer.unk_token_id], word
        assert alone[0] in tokenizer(f"of {word}.")["input_ids"], "a word is the same token wherever it stands"


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_same_corpus_gives_the_same_bytes_and_the_vocabulary_has_its_bound(
    facts: Path, tmp_path: Path, kind: Any
) -> None:
    for name in ("one", "other"):
        settings = Tokenizer(kind=kind, vocabulary_size=500, corpus=(str(facts / "corpus.jsonl"),))
        tokenizer = train_tokenizer(settings, Data(train="unused"))
        assert len(tokenizer) == 500
        tokenizer.save_pretrained(tmp_path / name)
    assert (tmp_path / "one/tokenizer.json").read_bytes() == (tmp_path / "other/tokenizer.json").read_bytes()


def test_a_corpus_that_is_empty_missing_or_larger_than_the_vocabulary_allows_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InvalidInput, match=r"empty\.txt: there is no text"):
        train_tokenizer(Tokenizer(corpus=(str(tmp_path / "empty.txt"),)), Data(train="unused"))
    with pytest.raises(InvalidInput, match=r"missing\.txt: the corpus cannot be read"):
        train_tokenizer(Tokenizer(corpus=(str(tmp_path / "missing.txt"),)), Data(train="unused"))
    with pytest.raises(InvalidInput, match="at least 263"):
        train_tokenizer(Tokenizer(kind="bpe", vocabulary_size=100), Data(train="unused"))
