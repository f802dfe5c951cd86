"""Models that hand each other token ids must read the same tokens; the first difference is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from engine.errors import NotFound, Refused
from engine.spec.loading import parse_spec
from engine.spec.models import PpoSpec
from engine.train.tokenizers import fingerprint, require_same_tokenizer, require_same_tokenizers

WORDS = ("<unk>", "<bos>", "<eos>", "<pad>", "oslo", "rome")


def tokenizer(*words: str, template: str | None = None, **special: Any) -> Any:
    """A tokenizer with one token a word."""
    tokens = {word: number for number, word in enumerate(words or WORDS)}
    pieces = Tokenizer(WordLevel(tokens, unk_token="<unk>"))
    roles = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"} | special
    made = PreTrainedTokenizerFast(tokenizer_object=pieces, **roles)
    made.chat_template = template
    return made


def folder_of(made: Any, folder: Path) -> Path:
    """A model folder with this tokenizer; of the model itself only the config."""
    made.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def test_the_same_tokens_are_the_same_whatever_they_are_padded_with(tmp_path: Path) -> None:
    own, other = tokenizer(), tokenizer(pad_token="<unk>")
    assert require_same_tokenizer(own, folder_of(other, tmp_path / "other")) is None
    assert fingerprint(own) == fingerprint(other) == fingerprint(tokenizer())


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (tokenizer(*WORDS[:4], "rome", "oslo"), 'token "oslo" is 4 in the one and 5 in the other.'),
        (tokenizer(*WORDS, "lima"), "differ: 6 tokens against 7."),
        (tokenizer(*WORDS[:5], "lima"), 'token "rome" (5) is missing in the other.'),
        (tokenizer(eos_token="<pad>"), 'eos is "<eos>" in the one and "<pad>" in the other.'),
        (tokenizer(bos_token=None), 'bos is "<bos>" in the one and not set in the other.'),
        (tokenizer(extra_special_tokens=["oslo"]), 'only one of them takes "oslo" for a special token.'),
    ],
)
def test_a_different_tokenizer_is_refused_by_its_first_difference(tmp_path: Path, other: Any, says: str) -> None:
    own = tokenizer()
    own.name_or_path = "/models/policy"
    folder = folder_of(other, tmp_path / "reward")
    with pytest.raises(Refused) as caught:
        require_same_tokenizer(own, folder)
    assert says in caught.value.message
    assert "/models/policy" in caught.value.message and str(folder) in caught.value.message
    assert fingerprint(own) != fingerprint(other)


def test_another_chat_template_is_a_warning_and_other_white_space_is_nothing(tmp_path: Path) -> None:
    own = tokenizer(template="{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}")
    spaced = tokenizer(template="{{ bos_token }}{% for m in  messages %}{{ m.content }}{% endfor %}\n")
    assert require_same_tokenizer(own, folder_of(spaced, tmp_path / "spaced")) is None
    told = require_same_tokenizer(own, folder_of(tokenizer(template="{{ messages }}"), tmp_path / "another"))
    assert told is not None and str(tmp_path / "another") in told
    assert fingerprint(own) == fingerprint(spaced) != fingerprint(tokenizer(template="{{ messages }}"))


def test_every_network_of_ppo_is_compared_with_the_policy(tmp_path: Path) -> None:
    same = folder_of(tokenizer(), tmp_path / "same")
    text = f"""
    kind: ppo
    model: {{path: {same}}}
    reference: {{path: {same}}}
    critic: {{path: {tmp_path}/critic}}
    rewards: {{one: {{path: {tmp_path}/one}}, right: {{kind: exact_match}}}}
    data: {{train: {tmp_path}/prompts.jsonl}}
    """
    spec = parse_spec(text)
    assert isinstance(spec, PpoSpec)
    own = tokenizer()
    folder_of(tokenizer(template="{{ messages }}"), tmp_path / "one")
    with pytest.raises(NotFound, match=r"config\.json"):
        require_same_tokenizers(spec, own)
    folder_of(tokenizer(), tmp_path / "critic")
    (told,) = require_same_tokenizers(spec, own)
    assert f"{tmp_path}/one" in told
    folder_of(tokenizer(*WORDS, "lima"), tmp_path / "critic")
    with pytest.raises(Refused, match="6 tokens against 7"):
        require_same_tokenizers(spec, own)
