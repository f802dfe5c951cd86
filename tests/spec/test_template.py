"""A new spec of every kind is valid, complete and says what each key means."""

from __future__ import annotations

import pytest

from engine.errors import InvalidInput
from engine.spec.canonical import flatten, to_yaml
from engine.spec.loading import parse_spec
from engine.spec.models import Kind
from engine.spec.template import new_spec


@pytest.mark.parametrize("kind", list(Kind))
def test_a_new_spec_is_valid_complete_and_commented(kind: Kind) -> None:
    text = new_spec(kind)
    spec = parse_spec(text)
    assert spec.kind == kind and text == to_yaml(spec, comments=True)
    lines = [line for line in text.splitlines() if line]
    assert len(lines) == len(to_yaml(spec).splitlines())
    assert all("  # " in line for line in lines)
    columns = [line.index("  # ") for line in lines]
    aligned, *longer = sorted(set(columns))
    assert aligned <= 40, "the comments stand below each other, but for those of longer values"
    assert all(line[column - 1] != " " for line, column in zip(lines, columns, strict=True) if column in longer)


def test_overrides_take_the_place_of_examples() -> None:
    spec = parse_spec(new_spec("sft", ["model.architecture.layers=2", "data.train=mine.jsonl", "train.lr=1e-3"]))
    values = flatten(spec)
    assert (values["model.path"], values["model.architecture.layers"], values["train.lr"]) == (None, 2, 1e-3)
    assert values["data.train"] == "mine.jsonl"
    assert "model.path" in flatten(parse_spec(new_spec("sft", ["model.path=here"])))


def test_a_term_of_the_reward_that_is_set_takes_the_place_of_the_example() -> None:
    spec = parse_spec(new_spec("ppo", ["rewards.known.kind=exact_match", "rewards.known.weight=2"]))
    flat = flatten(spec)
    assert flat["rewards.known.weight"] == 2.0 and "rewards.reward.path" not in flat
    assert flatten(parse_spec(new_spec("ppo")))["rewards.reward.path"] == "models/reward"


def test_an_override_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"there is no key data\.trian") as caught:
        new_spec("sft", ["data.trian=x"])
    assert caught.value.where == "--set data.trian=x"


@pytest.mark.parametrize(
    ("kind", "meant"), [("stf", "sft"), ("SFT", "sft"), ("reward model", "rm"), ("evaluate", "eval"), ("pppo", "ppo")]
)
def test_an_unknown_kind_names_the_nearest(kind: str, meant: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        new_spec(kind)
    assert caught.value.hint == f"Did you mean {meant}?" and "sft, rm, ppo, rag, eval or sim" in caught.value.message


def test_a_long_value_keeps_its_comment() -> None:
    text = new_spec("sft", ["data.train=" + "x" * 200])
    assert f"  train: {'x' * 200}  # file or folder to train on\n" in text
