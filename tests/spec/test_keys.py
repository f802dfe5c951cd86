"""The key that was meant is found: by its letters, its initials, its words or its description."""

from __future__ import annotations

import pytest

from engine.spec.keys import key_at, keys_below, keys_of, nearest, section_at
from engine.spec.models import SPEC_TYPES, Kind, PpoSpec, SftSpec
from engine.spec.ppo import RewardTerm
from engine.spec.sections import Data, Train


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learning_rat", "lr"),
        ("learning_rate", "lr"),
        ("learningRate", "lr"),
        ("learning-rate", "lr"),
        ("lerning_rate", "lr"),
        ("batchsize", "batch_size"),
        ("per_device_train_batch_size", "batch_size"),
        ("num_train_epochs", "epochs"),
        ("step", "steps"),
        ("grad_clip", "clip"),
        ("gradient_norm", "clip"),
        ("zero", "zero_stage"),
        ("optimiser", "optimizer"),
        ("xyzzy", None),
        ("", None),
        ("___", None),
        ("\x1b" * 10_000, None),
    ],
)
def test_the_nearest_key_of_train(word: str, meant: str | None) -> None:
    assert nearest(word, {name: key.description for name, key in keys_of(Train).items()}) == meant


def test_a_key_of_another_trainer_is_recognised() -> None:
    assert nearest("max_seq_length", {name: key.description for name, key in keys_of(Data).items()}) == "max_length"


def test_keys_are_found_by_path() -> None:
    found = key_at(SftSpec, ("train", "schedule", "kind"))
    assert found is not None and found.choices == ("constant", "linear", "cosine")
    items = key_at(SftSpec, ("model", "tokenizer", "corpus", 3))
    assert items is not None and items.allowed == "a list, each item a path"
    weight = key_at(PpoSpec, ("rewards", "faithful", "weight"))
    assert weight is not None and weight.allowed == "a number"
    entry, terms = key_at(PpoSpec, ("rewards", "faithful")), key_at(PpoSpec, ("rewards",))
    assert entry is not None and entry.section is RewardTerm and "term of the reward" in entry.description
    assert terms is not None and terms.entries is RewardTerm and terms.section is None
    assert section_at(PpoSpec, ("rewards", "any name")) is RewardTerm
    assert key_at(PpoSpec, ("rewards", "faithful", "wieght")) is None
    assert {"rewards", "rewards.NAME.weight"} <= dict(keys_below(PpoSpec)).keys()
    assert key_at(SftSpec, ("train", "lr", "peak")) is None and key_at(SftSpec, ("no", "key")) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_every_key_says_what_it_is(kind: Kind) -> None:
    for name, key in keys_below(SPEC_TYPES[kind]):
        assert key.description and key.allowed, name
        assert not key.description.endswith(".") and "\n" not in key.description, name
        assert not key.required or key.example is not None or key.section is not None, f"{name} needs an example"
