"""A spec's text, flat keys and hash are the same for equal specs, and tell unequal ones apart."""

from __future__ import annotations

import itertools
import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from engine.spec import canonical
from engine.spec.canonical import diff, flatten, spec_hash, to_yaml
from engine.spec.fields import Section
from engine.spec.loading import parse_spec
from engine.spec.models import AnySpec, Kind, SftSpec
from engine.spec.sections import Optimizer
from tests.spec.strategies import PATIENT, as_yaml, documents, specs

GOLDEN = """\
kind: sft
name: facts
note: "two\\nlines"
seed: 0
placement:
  nodes: 2
  min_nodes: null
  slots: null
  threads: null
  share: false
supervision:
  retries: 3
  lost_after: 600
  elastic: false
  stall_factor: 20.0
  on_stall: warn
model:
  path: null
  architecture:
    hidden_size: 128
    layers: 3
    heads: 4
    intermediate_size: 352
    max_positions: 512
    tie_embeddings: true
  tokenizer:
    kind: word
    corpus: [facts.txt, 'no', '2024', 'a: b']
    vocabulary_size: 8192
  lora: null
  attention: auto
data:
  train: facts.jsonl
  eval: null
  format: auto
  eval_fraction: 0.0
  prompt_key: prompt
  response_key: response
  text_key: text
  messages_key: messages
  template: null
  max_length: 512
  packing: false
  order: shuffled
  loss_on: assistant
  on_broken_row: error
train:
  steps: null
  epochs: 1.0
  batch_size: 64
  micro_batch_size: 8
  micro_batch_tokens: null
  lr: 0.001
  schedule:
    kind: cosine
    warmup_steps: 0
    final_fraction: 0.1
  optimizer:
    beta1: 0.9
    beta2: 0.95
    eps: 1.0e-08
    weight_decay: 0.0
  clip: 1.0
  precision: bf16
  zero_stage: 2
  offload_optimizer: false
  offload_parameters: false
  nvme_path: null
  gradient_checkpointing: false
  log_every: 1
  eval_every: 0
  eval_batches: 0
  sample_prompts: 4
  sample_tokens: 32
  checkpoint_every: 0
  keep_checkpoints: 2
  timeout_seconds: 600
  health:
    not_finite: fail
    negative_kl: warn
    kl_limit: null
    kl_over_limit: warn
    collapse: warn
    repetition: warn
    no_eos: warn
    critic: warn
    overoptimisation: warn
    rollback_lr: 0.5
    most_rollbacks: 3
"""
SHORT = r"""
train: {lr: 1e-3}
data: {train: facts.jsonl}
model:
  tokenizer: {corpus: [facts.txt, no, "2024", "a: b"]}
  architecture: {}
placement: {nodes: 2}
name: facts
note: "two\nlines"
kind: sft
"""
PPO = """
kind: ppo
model: {path: m}
rewards: {true_to_it: {path: p, weight: 2}, a_no: {kind: length}}
data: {train: d}
"""


def test_the_canonical_text_has_every_key_in_the_order_of_the_types() -> None:
    """Fails when a default changes; then canonical.HASH_VERSION is raised too."""
    assert to_yaml(parse_spec(SHORT)) == GOLDEN


def test_terms_of_a_reward_are_printed_in_their_order_and_flat_keys_have_their_names() -> None:
    spec = parse_spec(PPO)
    text = to_yaml(spec, comments=True)
    lines = text[text.index("\nrewards:") : text.index("\ndata:")].splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == ["true_to_it:", "a_no:"]
    assert all("  # " in line for line in lines if line)
    assert "    weight: 2.0" in text and parse_spec(text) == spec
    flat = flatten(spec)
    assert flat["rewards.true_to_it.weight"] == 2.0 and flat["rewards.a_no.kind"] == "length"
    assert not {"rewards", "rewards.a_no"} & flat.keys()


def test_the_order_of_the_terms_of_a_reward_does_not_change_the_hash_but_their_names_do() -> None:
    spec = parse_spec(PPO)
    swapped = parse_spec(PPO.replace("{true_to_it: {path: p, weight: 2}, a_no: {kind: length}}",
                                     "{a_no: {kind: length}, true_to_it: {weight: 2, path: p}}"))  # fmt: skip
    assert list(swapped.model_dump()["rewards"]) == ["a_no", "true_to_it"]
    assert swapped == spec and spec_hash(swapped) == spec_hash(spec) and diff(spec, swapped) == {}
    settings = ["rewards.true_to_it.weight=3", "rewards.a_no.target=3", "rewards.third.kind=abstention"]
    others = [parse_spec(PPO, overrides=[setting]) for setting in settings] + [parse_spec(PPO.replace("a_no", "brief"))]
    assert len({spec_hash(spec), *map(spec_hash, others)}) == 5
    assert spec_hash(parse_spec(PPO, overrides=["rewards.a_no.weight=1"])) == spec_hash(spec), "that is the default"


@given(specs(), st.booleans())
@PATIENT
def test_what_is_printed_reads_back_as_the_same_spec(spec: AnySpec, comments: bool) -> None:
    text = to_yaml(spec, comments=comments)
    again = parse_spec(text)
    assert again == spec
    assert to_yaml(again, comments=comments) == text and spec_hash(again) == spec_hash(spec)


def test_short_texts_of_every_sign_read_back() -> None:
    signs = [*string.punctuation, " ", "a", "0", "\t", "\n", "\u2028", "é"]
    texts = [*signs, *map("".join, itertools.product(signs, repeat=2))]
    spec = parse_spec(SHORT, overrides=[f"model.tokenizer.corpus={as_yaml(texts)}"])
    assert flatten(spec)["model.tokenizer.corpus"] == texts
    assert parse_spec(to_yaml(spec)) == spec


@given(specs())
@PATIENT
def test_older_yaml_readers_see_the_same_values(spec: AnySpec) -> None:
    values = YAML(typ="safe", pure=True)
    values.version = (1, 1)
    assert _without_dates(values.load(to_yaml(spec))) == _without_dates(spec.model_dump(mode="json"))


def _without_dates(value: Any) -> Any:
    """What 1.1 and 1.2 both read as a date stands in quotes, so no date may come out."""
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    assert value is None or isinstance(value, str | int | float | bool | list)
    return value


@given(st.sampled_from(list(Kind)).flatmap(documents), st.randoms(use_true_random=False))
@PATIENT
def test_the_hash_does_not_depend_on_the_order_of_keys_and_on_comments(document: Any, chance: random.Random) -> None:
    plain, other = as_yaml(document), as_yaml(_shuffled(document, chance))
    assert spec_hash(parse_spec(f"# a word\n{other}\n# another\n")) == spec_hash(parse_spec(plain))


def _shuffled(value: Any, chance: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _shuffled(value[key], chance) for key in chance.sample(sorted(value), len(value))}


@given(specs(), specs())
@PATIENT
def test_a_difference_is_between_unequal_specs_and_names_both_values(one: AnySpec, other: AnySpec) -> None:
    assert diff(one, one) == {}
    there, back = diff(one, other), diff(other, one)
    assert there == {key: (old, new) for key, (new, old) in back.items()}
    assert bool(there) == (one != other)
    for key, (old, new) in there.items():
        assert flatten(one).get(key) == old != new == flatten(other).get(key)


def test_differences_stand_in_the_order_of_the_spec_and_cross_kinds() -> None:
    old = parse_spec(SHORT)
    new = parse_spec(SHORT, overrides=["train.lr=1", "model.architecture.layers=9", "seed=4"])
    assert list(diff(old, new).items()) == [
        ("seed", (0, 4)),
        ("model.architecture.layers", (3, 9)),
        ("train.lr", (0.001, 1.0)),
    ]
    policy = parse_spec(PPO)
    assert diff(policy, parse_spec(PPO, overrides=["rewards.a_no.kind=abstention"])) == {
        "rewards.a_no.kind": ("length", "abstention")
    }
    renamed = diff(policy, parse_spec(PPO.replace("a_no", "brief")))
    assert renamed["rewards.brief.kind"] == (None, "length") and renamed["rewards.a_no.kind"] == ("length", None)
    assert not any(key.startswith("rewards.true_to_it") for key in renamed) and "rewards.brief" not in renamed
    index = parse_spec("{kind: rag, corpus: {path: c}, embedder: {path: e}}")
    assert diff(old, index)["kind"] == ("sft", "rag")
    assert diff(old, index)["corpus.path"] == (None, "c") and diff(old, index)["train.lr"] == (0.001, None)


@pytest.mark.parametrize("setting", ["name=other", "note=null", "note=another", "placement.nodes=7"])
def test_what_does_not_change_the_computation_does_not_change_the_hash(setting: str) -> None:
    assert spec_hash(parse_spec(SHORT, overrides=[setting])) == spec_hash(parse_spec(SHORT))


def test_minus_zero_is_zero() -> None:
    minus, zero = (parse_spec(SHORT, overrides=[f"train.schedule.final_fraction={value}"]) for value in ("-0.0", "0"))
    assert minus == zero and to_yaml(minus) == to_yaml(zero) and spec_hash(minus) == spec_hash(zero)


def test_every_other_key_changes_the_hash() -> None:
    spec = parse_spec(SHORT)
    settings = ["seed=1", "model.architecture.layers=2", "model.tokenizer.corpus=[a]", "data.train=b", "train.lr=2e-5"]
    settings += ["model.tokenizer=null", "model.tokenizer={}", "train.schedule.kind=linear", "train.zero_stage=3"]
    hashes = [spec_hash(parse_spec(SHORT, overrides=[setting])) for setting in settings]
    assert len({spec_hash(spec), *hashes}) == 1 + len(settings)


def test_a_key_that_a_later_version_adds_does_not_change_the_hash() -> None:
    class LaterOptimizer(Optimizer):
        amsgrad: bool = False

    spec = parse_spec(SHORT)
    assert isinstance(spec, SftSpec)
    later = spec.model_copy(update={"train": spec.train.model_copy(update={"optimizer": LaterOptimizer()})})
    assert spec_hash(later) == spec_hash(spec)


def test_a_hash_that_a_database_holds_stays_what_it_is() -> None:
    """With HASH_VERSION raised, because a default changed, another hash stands here."""
    assert canonical.HASH_VERSION == 1
    assert spec_hash(parse_spec(SHORT)) == "961765cbc2c7d2185b07b6e6128dc10e87545608ffc5dfbc0294408e89ac5870"


def test_sections_are_not_values() -> None:
    for text in (SHORT, PPO):
        assert not any(isinstance(value, Section | dict) for value in flatten(parse_spec(text)).values())
    assert flatten(parse_spec(SHORT))["model.tokenizer.corpus"] == ["facts.txt", "no", "2024", "a: b"]
