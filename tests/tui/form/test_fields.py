"""The fields of the form are those of the spec's types, with the values that they have now."""

from __future__ import annotations

import pytest

from engine.spec.document import Document
from engine.spec.models import SPEC_TYPES, Kind
from tui.form.draft import written
from tui.form.fields import MISSING, Field, Shape, complete, fields_of
from tui.form.listing import counted, listed
from tui.form.values import cell, editable, next_choice, yaml_of

PPO = """
kind: ppo
model: {path: /models/sft}
rewards: {faithful: {path: /models/rm}, brief: {kind: length}}
data: {train: prompts.jsonl}
"""


def fields(text: str, **settings: str) -> dict[str, Field]:
    """Return the fields of a spec with settings over it, by key; `__` in place of a dot."""
    document = Document.read(text, "spec")
    section = SPEC_TYPES[Kind(document.values["kind"])]
    now = written(document, {key.replace("__", "."): value for key, value in settings.items()})
    found = fields_of(section, complete(section, now.values), complete(section, document.values), is_top=True)
    return {field.key: field for field in found}


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_field_for_each_of_its_keys(kind: Kind) -> None:
    from engine.spec.template import new_spec

    found = fields(new_spec(kind))
    assert set(SPEC_TYPES[kind].model_fields) - {"kind", "name"} == {key for key in found if "." not in key}
    assert all(field.description for field in found.values())
    assert not any(field.changed for field in found.values())


def test_shapes_follow_the_types() -> None:
    found = fields(PPO)
    assert found["train.lr"].shape is Shape.NUMBER and "above 0" in found["train.lr"].allowed
    assert found["ppo.whiten"].shape is Shape.TRUTH
    assert found["ppo.estimator"].choices == ("gae", "rloo", "grpo")
    assert found["train.zero_stage"].shape is Shape.CHOICE and found["critic.zero_stage"].nullable
    assert found["model.path"].shape is Shape.PATH and found["reference.path"].nullable
    assert found["data.abstentions"].shape is Shape.LIST
    assert found["ptx"].shape is Shape.SECTION and not found["ptx"].is_section
    assert found["rewards"].shape is Shape.NAMES and cell(found["rewards"]) == "faithful, brief"
    assert found["rewards.brief.kind"].value == "length" and found["rewards.brief.weight"].value == 1.0


def test_what_is_set_differs_and_the_same_number_in_other_words_does_not() -> None:
    found = fields(PPO, train__lr="3e-3", ppo__gamma="1", train__steps="no number")
    assert found["train.lr"].changed and found["train.lr"].base == 2e-5
    assert not found["ppo.gamma"].changed, "1 is 1.0"
    assert found["train.steps"].value == "no number"


def test_a_section_that_is_put_in_shows_its_keys_also_those_that_are_missing() -> None:
    found = fields(PPO, ptx="{}")
    assert found["ptx"].is_section and found["ptx.coef"].value == 27.8
    assert found["ptx.data.train"].value is MISSING and found["ptx.data.train"].required
    assert sum(field.changed for field in found.values()) == 1


def test_text_becomes_yaml_that_reads_as_the_same_text() -> None:
    found = fields(PPO)
    path, words = found["model.path"], found["data.abstentions"]
    for text in ("/a/b c.jsonl", "${sft-1.model}", "true", "1e3", "a: b", "#x", 'say "x"', "über", "- x"):
        document = Document.read(f"kind: ppo\nx: {{y: 1}}\nz: {yaml_of(path, text)}", "spec")
        assert document.values["z"] == text
    assert yaml_of(words, "no idea, i don't know") == """[no idea, "i don't know"]"""
    assert yaml_of(words, "[a, b]") == "[a, b]"
    assert yaml_of(found["reference.path"], "") == "null" and editable(found["reference.path"]) == ""


def test_choices_go_round() -> None:
    found = fields(PPO)
    assert next_choice(found["ppo.estimator"], 1) == "rloo" and next_choice(found["ppo.estimator"], -1) == "grpo"
    assert next_choice(found["critic.zero_stage"], 1) == "0" and next_choice(found["ppo.whiten"], 1) == "false"
    assert next_choice(found["train.lr"], 1) is None


def test_search_and_changed_only_keep_the_headings_of_what_they_keep() -> None:
    found = list(fields(PPO, train__lr="3e-3").values())
    searched = [field.key for field in listed(found, search="temperature")]
    assert searched == ["rollout", "rollout.temperature"]
    assert [field.key for field in listed(found, only_changed=True)] == ["train", "train.lr"]
    assert [field.key for field in listed(found, search="mix language", only_changed=False)] == ["ptx"]
    folded = [field.key for field in listed(found, folded=("train", "data"))]
    assert "train" in folded and not any(key.startswith(("train.", "data.")) for key in folded)
    assert "train.lr" in [field.key for field in listed(found, search="learning rate", folded=("train",))]
    assert counted(found, listed(found, search="temperature")).startswith("1 of ")
    assert counted(found, found).endswith("fields, 1 changed")
