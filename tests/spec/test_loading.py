"""A fault in a spec is told in one sentence: where, which key, what is allowed, what was meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.spec.keys import keys_below
from engine.spec.loading import load_spec, parse_spec
from engine.spec.models import SPEC_TYPES, AnySpec, Kind, PpoSpec, SftSpec
from tests.spec.strategies import PATIENT, as_yaml, documents

SPEC = """\
kind: sft
model:
  path: base   # a comment
data:
  train: facts.jsonl
train:
  steps: 10

  lr: 1e-4
"""

PPO = """\
kind: ppo
model: {path: sft}
rewards:
  faithful:
    path: reward
    weight: 2
  brief:
    kind: length
data: {train: prompts.jsonl}
"""

KINDS = "model, exact_match, support, abstention, length, regex or function"
NAMES = "at most 40 of a-z, 0-9 and '_' (a letter first)"
SECTION = 'must be a section of keys; it is "length".'
BF16 = "Did you mean bf16?"
QUOTES = "Put it in quotes if it is meant as text."
ALL_OF_MODEL = "The keys of model are path, architecture, tokenizer, lora, attention."
ADD_TRAIN = "Add data.train: file or folder to train on."
ADD_KIND = "Add kind: sft, for example."
OFFLOAD = "train has offload_optimizer, which needs zero_stage 1, 2 or 3."
FP16 = "train has precision fp16, which needs zero_stage 1, 2 or 3."
WIDTH = "has hidden_size 128, which is no multiple of twice heads (3)."


def refusal(text: str, *overrides: str) -> InvalidInput:
    """Return why a text is no spec."""
    with pytest.raises(InvalidInput) as caught:
        parse_spec(text, "spec.yaml", overrides)
    return caught.value


def sft(text: str, *overrides: str) -> SftSpec:
    """Return the spec that a text says."""
    spec = parse_spec(text, "spec.yaml", overrides)
    assert isinstance(spec, SftSpec)
    return spec


def ppo(text: str, *overrides: str) -> PpoSpec:
    """Return the spec that a text says."""
    spec = parse_spec(text, "spec.yaml", overrides)
    assert isinstance(spec, PpoSpec)
    return spec


@pytest.mark.parametrize("number", ["1e-4", "1.0e-4", "1E-04", ".0001", "'1e-4'"])
def test_a_number_is_a_number_however_it_is_written(number: str) -> None:
    assert sft(SPEC.replace("1e-4", number)).train.lr == 1e-4
    assert sft(SPEC, f"train.lr={number}").train.lr == 1e-4
    assert sft(SPEC.replace("10", "1e1")).train.steps == 10


def test_words_are_text_where_text_is_due_and_truth_where_truth_is() -> None:
    spec = sft(SPEC, "name=no", "data.packing=yes", "data.text_key=2024-01-01", "train.offload_optimizer=off")
    assert (spec.name, spec.data.packing, spec.data.text_key) == ("no", True, "2024-01-01")
    assert spec.train.offload_optimizer is False


@pytest.mark.parametrize(
    ("wrong", "line", "message", "hint"),
    [
        (("  lr:", "  learning_rat:"), 9, "there is no key train.learning_rat.", "Did you mean lr?"),
        (("  steps:", "  max_length:"), 7, "there is no key train.max_length.", "Did you mean data.max_length?"),
        (("  steps: 10", "  steps: -1"), 7, "train.steps must be a whole number (at least 1) or null; it is -1.", None),
        (("1e-4", "fast"), 9, 'train.lr must be a number (above 0); it is "fast".', None),
        (("1e-4", "true"), 9, "train.lr must be a number (above 0); it is true.", None),
        (("1e-4", ".inf"), 9, "train.lr must be a number (above 0); it is inf.", None),
        (("steps: 10", "precision: bf61"), 7, 'train.precision must be bf16, fp16 or fp32; it is "bf61".', BF16),
        (("steps: 10", "zero_stage: 4"), 7, "train.zero_stage must be 0, 1, 2 or 3; it is 4.", None),
        (("steps: 10", "schedule: fast"), 7, 'train.schedule must be a section of keys; it is "fast".', None),
        (("facts.jsonl", "2024"), 5, "data.train must be a path; it is 2024.", QUOTES),
        (("facts.jsonl", "''"), 5, 'data.train must be a path; it is "".', None),
        (("  path: base", "  nothing: 1"), 3, "there is no key model.nothing.", ALL_OF_MODEL),
        (("steps: 10", "offload_optimizer: 1\n  zero_stage: 0"), 6, OFFLOAD, None),
        (("lr: 1e-4", "precision: fp16\n  zero_stage: 0"), 6, FP16, None),
        (("steps: 10", "offload_parameters: yes"), 6, "train has offload_parameters, which needs zero_stage 3.", None),
        (("path: base", "path: null"), 2, "model needs either path or architecture.", None),
        (("  train: facts", "  trian: facts"), 5, "there is no key data.trian.", "Did you mean train?"),
        (("  train: facts", "  eval: facts"), 4, "data.train is missing.", ADD_TRAIN),
        (("sft", "stf"), 1, 'there is no kind "stf"; it must be sft, rm, ppo, rag, eval or sim.', "Did you mean sft?"),
        (("kind: sft", "seed: 1"), 1, "kind is missing; it must be sft, rm, ppo, rag, eval or sim.", ADD_KIND),
    ],
)
def test_a_fault_is_named_with_its_line_and_what_was_meant(
    wrong: tuple[str, str], line: int, message: str, hint: str | None
) -> None:
    told = refusal(SPEC.replace(*wrong))
    assert (told.where, told.message, told.hint) == (f"spec.yaml:{line}", message, hint)


def test_all_faults_are_told_in_the_order_of_the_file() -> None:
    text = SPEC.replace("steps: 10", "steps: 0").replace("path: base", "pth: base").replace("lr:", "lrr:")
    told = refusal(text, "seed=-1")
    assert told.where == "spec.yaml:3" and told.hint is None
    assert told.message.splitlines() == [
        "there is no key model.pth. Did you mean path?",
        "spec.yaml:7: train.steps must be a whole number (at least 1) or null; it is 0.",
        "spec.yaml:9: there is no key train.lrr. Did you mean lr?",
        "--set seed=-1: seed must be a whole number (at least 0); it is -1.",
    ]


def test_of_very_many_faults_the_first_are_told() -> None:
    told = refusal(SPEC + "".join(f"  odd{n}: 1\n" for n in range(500)))
    assert told.where == "spec.yaml:10" and len(told.message.splitlines()) == 21
    assert told.message.endswith("There are 480 more faults.")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.learning_rat=1", "there is no key train.learning_rat."),
        ("lr=1", "there is no key lr."),
        ("train.lr=fast", 'train.lr must be a number (above 0); it is "fast".'),
        ("train.lr.peak=1", "train.lr is 0.0001, not a section of keys, so train.lr.peak cannot be set."),
        ("model.architecture={}", "model has both path and architecture; set one of the two to null."),
        ("model.architecture.heads=3", f"model.architecture {WIDTH}"),
        ("train=null", "train must be a section of keys; it is null."),
        ("data.train=", "data.train must be a path; it is null."),
        ("train.lr", "is not KEY=VALUE."),
        ("=1", "is not KEY=VALUE."),
        ("train..lr=1", "is not KEY=VALUE."),
        ("train.lr='1", "is not valid YAML: while scanning a quoted scalar, found unexpected end of stream."),
    ],
)
def test_a_fault_of_an_override_is_told_as_such(setting: str, message: str) -> None:
    told = refusal(SPEC, setting)
    assert (told.where, told.message) == (f"--set {setting}", message)


@pytest.mark.parametrize(
    ("wrong", "line", "message", "hint"),
    [
        (("weight", "wieght"), 6, "there is no key rewards.faithful.wieght.", "Did you mean weight?"),
        (("weight: 2", "lr: 2"), 6, "there is no key rewards.faithful.lr.", "Did you mean critic.lr?"),
        (("weight: 2", "weight: much"), 6, 'rewards.faithful.weight must be a number; it is "much".', None),
        (("path: reward", "clip: 3"), 4, "rewards.faithful is of kind model and needs path.", None),
        (("kind: length", "kind: regex"), 7, "rewards.brief is of kind regex and needs pattern.", None),
        (("kind: length", "kind: lenght"), 8, f'rewards.brief.kind must be {KINDS}; it is "lenght".', "length"),
        (("  brief:", "  Be brief:"), 7, f'"Be brief" is no name in rewards; it must be {NAMES}.', None),
        (("  brief:", f"  {'b' * 41}:"), 7, f'"{"b" * 39}…" is no name in rewards; it must be {NAMES}.', None),
        (("  brief:\n    kind:", "  kind:"), 7, f"rewards.kind {SECTION}", "rewards.NAME.kind"),
        (("data:", "weight: 1\ndata:"), 9, "there is no key weight.", "rewards.NAME.weight"),
    ],
)
def test_a_fault_in_a_term_of_the_reward_is_named_as_any_other(
    wrong: tuple[str, str], line: int, message: str, hint: str | None
) -> None:
    told = refusal(PPO.replace(*wrong))
    assert (told.where, told.message) == (f"spec.yaml:{line}", message)
    assert told.hint is None if hint is None else hint in str(told.hint)


def test_a_reward_without_terms_is_refused() -> None:
    begin, end = PPO.index("rewards:"), PPO.index("data:")
    for text, is_given in (("rewards: {}\n", "empty"), ("rewards: 3\n", "3"), ("rewards: []\n", "empty")):
        told = refusal(PPO[:begin] + text + PPO[end:])
        what = f"rewards must be one or more names, each with a section of keys; it is {is_given}."
        assert (told.where, told.message) == ("spec.yaml:3", what)
    told = refusal(PPO[:begin] + PPO[end:])
    assert told.message == "rewards is missing." and "terms of the reward by name" in str(told.hint)


def test_sections_by_name_that_are_no_such_are_refused_with_an_example() -> None:
    begin, end = PPO.index("rewards:"), PPO.index("data:")
    for text in ("rewards: support\n", "rewards: {support: support}\n", ""):
        told = refusal(PPO[:begin] + text + PPO[end:])
        assert str(told.hint).endswith("For example: rewards={reward: {path: models/reward}}.")


def test_terms_of_the_reward_are_overridden_by_their_names() -> None:
    spec = ppo(PPO, "rewards.faithful.weight=3", "rewards.known.kind=exact_match", "rewards.brief={kind: abstention}")
    assert {name: (term.kind, term.weight) for name, term in spec.rewards.items()} == {
        "faithful": ("model", 3.0),
        "brief": ("abstention", 1.0),
        "known": ("exact_match", 1.0),
    }
    told = refusal(PPO, "rewards.faithful.wieght=3")
    assert (told.where, told.message) == (
        "--set rewards.faithful.wieght=3",
        "there is no key rewards.faithful.wieght.",
    )
    assert refusal(PPO, "rewards.Bad Name.weight=3").message.startswith('"Bad Name" is no name in rewards;')
    told = refusal(PPO, "rewards.faithful.path=null")
    assert told.where == "--set rewards.faithful.path=null" and "needs path" in told.message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model={architecture: {}}"], "the spec needs model.path: a policy is not made from scratch."),
        (["ppo.estimator=rloo"], "the spec has estimator rloo, which needs rollout.samples_per_prompt of 2 or more."),
        (["critic.share_base=true"], "the spec has critic.share_base, which needs model.lora."),
        (
            ["critic.zero_stage=0", "critic.offload_optimizer=true"],
            "the spec has critic.offload_optimizer, which needs critic.zero_stage 1, 2 or 3.",
        ),
        (
            ["train.zero_stage=2", "critic.offload_parameters=true"],
            "the spec has critic.offload_parameters, which needs critic.zero_stage 3.",
        ),
        (
            ["train={precision: fp16}", "critic.zero_stage=0"],
            "the spec has train.precision fp16, which needs critic.zero_stage 1, 2 or 3.",
        ),
        (
            [
                "train={zero_stage: 3, offload_optimizer: 1, nvme_path: /x}",
                "critic={zero_stage: 1, offload_optimizer: 1}",
            ],
            "the spec has critic.offload_optimizer and train.nvme_path, which needs critic.zero_stage 3.",
        ),
    ],
)
def test_parts_of_ppo_that_do_not_fit_together_are_told(settings: list[str], message: str) -> None:
    told = refusal(PPO, *settings)
    assert (told.where, told.message) == (f"--set {settings[-1]}", message)


def test_the_critic_takes_its_stage_from_the_policy() -> None:
    stages = "critic.offload_parameters=true", "critic.offload_optimizer=true"
    assert ppo(PPO, "train.zero_stage=3", *stages).critic.zero_stage is None
    assert ppo(PPO, "train.zero_stage=0", "critic.zero_stage=3", *stages).train.zero_stage == 0


def test_a_path_over_an_architecture_is_refused_until_the_architecture_is_null() -> None:
    text = SPEC.replace("path: base", "architecture: {layers: 2}")
    told = refusal(text, "seed=1", "model.path=base", "train.lr=1")
    assert told.where == "--set model.path=base" and "both path and architecture" in told.message
    assert sft(text, "model.path=base", "model.architecture=null").model.path == "base"


def test_overrides_make_sections_replace_sections_and_the_last_one_holds() -> None:
    assert sft(SPEC, "train.schedule.warmup_steps=3").train.schedule.warmup_steps == 3
    replaced = sft(SPEC, "train.schedule.warmup_steps=3", "train.schedule={kind: linear}").train.schedule
    assert (replaced.kind, replaced.warmup_steps) == ("linear", 0)
    assert sft(SPEC, "train.steps=null", "note=a=b", "seed=1", "seed=2").model_dump()["seed"] == 2
    assert sft(SPEC, "note=a=b").note == "a=b"


@given(st.data())
@PATIENT
def test_an_override_does_what_an_edit_of_the_file_does(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(Kind)))
    before, after = data.draw(documents(kind)), data.draw(documents(kind))
    whole = [f"{key}={as_yaml(value)}" for key, value in after.items()]
    keys_gone = {key: value for key, value in before.items() if key in after}
    assert parse_spec(as_yaml(keys_gone), overrides=whole) == parse_spec(as_yaml(after))
    deep = [f"train.{key}={as_yaml(value)}" for key, value in after.get("train", {}).items()]
    edited = {**before, "train": {**before.get("train", {}), **after.get("train", {})}}
    if deep:
        assert _spec_or_none(as_yaml(before), deep) == _spec_or_none(as_yaml(edited))


def _spec_or_none(text: str, overrides: Sequence[str] = ()) -> AnySpec | None:
    """None where the keys do not fit together."""
    try:
        return parse_spec(text, overrides=overrides)
    except InvalidInput:
        return None


@given(st.sampled_from(list(Kind)), st.data())
@PATIENT
def test_a_misspelt_key_is_found_again(kind: Kind, data: st.DataObject) -> None:
    """Two neighbouring letters change places, in a key of more than a few."""
    names = [name for name, _ in keys_below(SPEC_TYPES[kind]) if len(name.rpartition(".")[2]) > 5]
    name = data.draw(st.sampled_from(names)).replace("NAME", "faithful")
    section, _, leaf = name.rpartition(".")
    at = data.draw(st.integers(0, len(leaf) - 2))
    misspelt = leaf[:at] + leaf[at + 1] + leaf[at] + leaf[at + 2 :]
    if misspelt == leaf:
        return
    told = refusal(f"kind: {kind}", f"{section}.{misspelt}=1".removeprefix("."))
    assert f"Did you mean {leaf}?" in str(told)


def test_what_is_near_in_letters_comes_before_what_has_the_same_initials() -> None:
    assert "Did you mean clip_range?" in str(refusal("kind: ppo", "critic.lcip_range=1"))


def test_a_file_that_cannot_be_a_spec_is_told_in_one_sentence(tmp_path: Path) -> None:
    def told(path: Path) -> tuple[str, str | None]:
        with pytest.raises(InvalidInput) as caught:
            load_spec(path)
        return caught.value.message, caught.value.where

    file = tmp_path / "spec.yaml"
    assert told(file) == ("there is no such file.", str(file))
    assert told(tmp_path) == ("is a folder, not a spec file.", str(tmp_path))
    assert told(file / "below")[0] == "there is no such file."
    for content, message, line in [
        (b"", "is empty.", ""),
        (b"# only a comment\n", "is empty.", ""),
        (b"\n- a\n", "is a list, not a mapping of keys.", ":2"),
        (b"just words\n", 'is "just words", not a mapping of keys.', ":1"),
        (b"kind: sft\nname: \xff\n", "is not text in UTF-8.", ":2"),
        (b"#" * 300_000, "is larger than 256 KiB; no spec is.", ""),
    ]:
        file.write_bytes(content)
        assert told(file) == (message, f"{file}{line}")
    if os.geteuid() != 0:
        file.chmod(0)
        assert told(file) == ("cannot be read: Permission denied.", str(file))


def test_a_file_is_read_with_its_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + SPEC.replace("\n", "\r\n").encode())
    assert load_spec(file, ["seed=3"]) == parse_spec(SPEC, overrides=["seed=3"])


@pytest.mark.parametrize("kind", ["sft", "rm"])
def test_packing_with_the_attention_that_does_not_see_borders_is_refused(kind: str) -> None:
    text = f"kind: {kind}\nmodel: {{path: m, attention: flash}}\ndata: {{train: t, packing: true}}\n"
    with pytest.raises(InvalidInput, match=r"data\.packing and model\.attention flash"):
        parse_spec(text)
    assert parse_spec(text, overrides=["model.attention=sdpa"]).model.attention == "sdpa"
