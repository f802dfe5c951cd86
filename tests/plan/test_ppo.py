"""The plan of PPO: which networks there are, what each phase needs, what would fit, and what cannot run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.plan.advice import respread
from engine.plan.memory import OVERHEAD, plan_memory
from engine.plan.networks import Sharding
from engine.plan.place import Place
from engine.plan.reading import plan_run
from engine.plan.run import RunPlan
from engine.plan.states import element_bytes
from engine.spec.loading import parse_spec
from engine.spec.models import PpoSpec

GB = 10**9
LLAMA_13B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "max_position_embeddings": 4096,
}
SMALL = {**LLAMA_13B, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 8, "num_attention_heads": 8}
NODE = Place((8,), 80 * GB)

SPEC = """
kind: ppo
model: {path: policy}
rewards: {judge: {path: reward}}
data: {train: prompts.jsonl, max_prompt_length: 256, max_response_length: 128}
rollout: {prompts: 64, batch_size: 8}
train: {steps: 10, batch_size: 32, micro_batch_size: 2, gradient_checkpointing: true}
"""


def write_model(folder: Path, config: dict[str, Any] = LLAMA_13B, *, scored: bool = False, **tokenizer: Any) -> Path:
    folder.mkdir(exist_ok=True)
    head = "LlamaForSequenceClassification" if scored else "LlamaForCausalLM"
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [head]}))
    if tokenizer:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a policy and a reward model of 13B stand, without their weights."""
    home = tmp_path_factory.mktemp("models")
    write_model(home / "policy")
    write_model(home / "reward", scored=True)
    return home


def spec_of(folder: Path, *overrides: str) -> PpoSpec:
    paths = (f"model.path={folder / 'policy'}", f"rewards.judge.path={folder / 'reward'}")
    spec = parse_spec(SPEC, overrides=(*paths, *overrides))
    assert isinstance(spec, PpoSpec)
    return spec


def plan_of(folder: Path, *overrides: str, place: Place = NODE) -> RunPlan:
    return plan_run(spec_of(folder, *overrides), place)


def names(plan: RunPlan) -> list[str]:
    return [role.name for role in plan.roles]


def test_each_estimator_and_adapter_has_the_networks_it_needs(folder: Path) -> None:
    assert names(plan_of(folder)) == ["policy", "critic", "reference", "rewards.judge"]
    rule = "rewards.short={kind: length}"
    rloo = plan_of(folder, "ppo.estimator=rloo", "rollout.samples_per_prompt=2", rule)
    assert names(rloo) == ["policy", "reference", "rewards.judge"], "no critic, and a rule is no network"
    assert names(plan_of(folder, "model.lora={}")) == ["policy", "critic", "rewards.judge"], "adapters off: reference"
    own = plan_of(folder, "model.lora={}", f"reference.path={folder / 'policy'}")
    assert names(own) == ["policy", "critic", "reference", "rewards.judge"]


def test_one_base_under_two_adapters_is_held_once(folder: Path) -> None:
    apart = plan_of(folder, "model.lora={}", "critic.lora={}")
    shared = plan_of(folder, "model.lora={}", "critic.share_base=true")
    policy, critic, _ = shared.roles
    assert critic.network.lora == policy.network.lora and critic.network.own == critic.network.trainable
    saved = apart.memory.amounts.weights - shared.memory.amounts.weights
    base = critic.network.shape.parameters - critic.network.shape.head
    assert saved == pytest.approx(2 * base, rel=0.001)
    assert shared.memory.amounts.optimizer == apart.memory.amounts.optimizer
    training = {moment.role: moment for moment in shared.memory.moments if moment.phase == "train"}
    assert list(training) == ["policy"], "one backward pass for both"
    assert all(training["policy"].parts[name].activations > 0 for name in ("policy", "critic"))
    other = plan_of(folder, "model.lora={}", "critic.share_base=true", "critic.lora={rank: 4}")
    assert other.roles[1].network.adapters * 4 == other.roles[0].network.adapters


def test_a_reward_model_of_adapters_stands_over_the_shared_base(pair: Path) -> None:
    adapter = pair / "reward" / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 8, "target_modules": ["q_proj", "v_proj"]}))
    whole = plan_of(pair, "model.lora={}").roles[-1].network
    assert whole.own == whole.shape.parameters, "without a shared base, the merged weights are what is loaded"
    role = plan_of(pair, "model.lora={}", "critic.share_base=true").roles[-1]
    assert role.network.own == 8 * 8 * 4 * 1024 + 1024 and role.network.trainable == 0
    stages = plan_of(pair, "model.lora={}", "critic.share_base=true", "train.zero_stage=3").roles
    assert {role.sharding.zero_stage for role in stages} == {3}, "spread as the base is"
    named = plan_of(pair, "model.lora={}", "critic.share_base=true", f"reference.path={pair / 'policy'}")
    assert names(named) == ["policy", "critic", "rewards.judge"], "the base is the reference"


SHARDED = st.sampled_from(["0", "1", "2", "3"])
FROZEN = st.sampled_from([(stage, offload) for stage in ("0", "3") for offload in ("false", "true")])


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    reference, reward = draw(FROZEN), draw(FROZEN)
    return [
        f"train.zero_stage={draw(SHARDED)}",
        f"critic.zero_stage={draw(SHARDED)}",
        f"reference.zero_stage={reference[0]}",
        f"reference.offload={reference[1]}",
        f"rewards.judge.zero_stage={reward[0]}",
        f"rewards.judge.offload={reward[1]}",
        f"train.precision={draw(st.sampled_from(['bf16', 'fp32']))}",
        f"rollout.prompts={draw(st.sampled_from([32, 100, 1000]))}",
        *draw(st.sampled_from([(), ("model.lora={rank: 8}",), ("ppo.ema_decay=0.99",)])),
    ]


@given(overrides())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_the_peak_is_the_worst_moment_and_its_parts_add_up(folder: Path, changed: list[str]) -> None:
    plan = plan_of(folder, *changed)
    memory = plan.memory
    assert memory.total == max(memory.phases.values()) and set(memory.phases) == {"generate", "score", "train"}
    width = element_bytes("fp32" if "train.precision=fp32" in changed else "bf16")
    for moment in memory.moments:
        assert moment.total == sum(part.total for part in moment.parts.values())
        assert set(moment.parts) == {*names(plan), OVERHEAD}
        assert (moment.amounts.generation > 0) == (moment.phase == "generate")
        assert (moment.amounts.activations > 0) == (moment.phase != "generate")
        for role in plan.roles:
            part = moment.parts[role.name]
            if role.network.frozen:
                assert part.gradients == part.optimizer == 0 and (moment.phase, moment.role) != ("train", role.name)
                if role.sharding.offload_parameters and moment.role != role.name:
                    assert part.total == 0, "what waits in host memory is absent"
            if moment.phase == "generate" and role.name == "policy":
                assert part.weights >= width * role.network.parameters, "the policy is whole while it writes"


@given(overrides(), st.integers(20, 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_what_is_advised_fits_and_no_network_can_be_spread_less(
    folder: Path, changed: list[str], gigabytes: int
) -> None:
    spec, place = spec_of(folder, *changed), Place((8,), gigabytes * GB)
    plan = plan_run(spec, place)
    if plan.advice is None:
        assert not plan.memory.fits
        return

    def fits(shardings: dict[str, Sharding]) -> bool:
        return plan_memory(respread(plan.roles, shardings), spec.train, place, micro_steps=2).fits

    chosen = dict(plan.advice.shardings)
    assert fits(chosen) and set(plan.advice.reasons) == set(chosen)
    for role in plan.roles:
        stage = chosen[role.name].zero_stage
        waits = chosen[role.name].offload_optimizer or chosen[role.name].offload_parameters
        lower = [Sharding(below) for below in range(stage if not waits else 0) if not role.network.frozen or not below]
        assert not any(fits({**chosen, role.name: sharding}) for sharding in lower)


@given(overrides(), st.integers(30, 120))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_the_settings_that_an_error_names_make_it_fit(folder: Path, changed: list[str], gigabytes: int) -> None:
    place = Place((8,) * 8, gigabytes * GB)
    plan = plan_run(spec_of(folder, *changed, "train.batch_size=32"), place)
    if plan.memory.fits:
        assert plan.fits
        return
    (sentence,) = plan.errors
    assert re.match(r"a rank takes [0-9.]+ .B to (generate|score|train), ", sentence) and " of it for the " in sentence
    if plan.advice is None:
        assert "no ZeRO stage fits" in sentence
        return
    named = sentence.partition("it fits with ")[2].removesuffix(".").split()
    mended = plan_run(spec_of(folder, *changed, "train.batch_size=32", *named), place)
    assert mended.memory.total == plan.advice.total and mended.fits


def test_a_critic_without_a_stage_follows_the_policy(folder: Path) -> None:
    plan = plan_of(folder, "train.zero_stage=3", "reference.offload=true")
    assert plan.roles[1].sharding.zero_stage == 3
    small = plan_of(folder, "train.zero_stage=0", "rewards.judge.offload=true", place=Place((8,) * 8, 80 * GB))
    named = small.errors[0].partition("it fits with ")[2].removesuffix(".").split()
    assert small.advice is not None
    changed = {key for key, _, _ in (setting.partition("=") for setting in named)}
    same = small.advice.shardings["critic"].zero_stage == small.advice.shardings["policy"].zero_stage
    assert "train.zero_stage" in changed and ("critic.zero_stage" in changed) != same


def test_the_average_of_the_weights_stands_in_host_memory(folder: Path) -> None:
    without, averaged = plan_of(folder), plan_of(folder, "ppo.ema_decay=0.992")
    assert averaged.memory.host - without.memory.host == 8 * 4 * 13_015_864_320
    assert averaged.memory.total == without.memory.total
    partitioned = [plan_of(folder, "train.zero_stage=3", *more) for more in ((), ("ppo.ema_decay=0.992",))]
    assert partitioned[1].memory.host - partitioned[0].memory.host == 4 * 13_015_864_320
    assert averaged.disk.export == 2 * without.disk.export
    on_cpu = [plan_of(folder, *more, place=Place((2,), 10**13, on_cpu=True)) for more in ((), ("ppo.ema_decay=0.992",))]
    assert on_cpu[1].memory.total - on_cpu[0].memory.total == 4 * 13_015_864_320 and on_cpu[1].memory.host == 0


def test_the_disk_holds_policy_and_critic_with_their_optimisers(folder: Path) -> None:
    plan = plan_of(folder, "train.checkpoint_every=2", "train.keep_checkpoints=2")
    policy, critic = (role.network.parameters for role in plan.roles[:2])
    assert plan.disk.checkpoint == 14 * (policy + critic) and plan.disk.checkpoints == 3
    assert plan.disk.export == 2 * policy


def test_batches_that_cannot_be_are_errors_and_odd_ones_are_warned_of(folder: Path) -> None:
    impossible = plan_of(folder, "train.batch_size=65", "train.zero_stage=3", "reference.zero_stage=3")
    assert any("65 episodes an optimiser step, and a rollout has 64" in error for error in impossible.errors)
    assert not any("65 episodes" in error for error in plan_of(folder, "train.batch_size=64").errors)
    odd = plan_of(folder, "rollout.prompts=68", "train.batch_size=24")
    assert any("last optimiser step of each pass has 20" in warning for warning in odd.warnings)
    assert any("68 episodes of a rollout do not divide by 8 ranks" in warning for warning in odd.warnings)
    idle = plan_of(folder, "rollout.prompts=4", "train.batch_size=4")
    assert any("4 of 8 ranks write nothing" in warning for warning in idle.warnings)
    assert any("4 of 8 ranks have no episodes" in warning for warning in idle.warnings)
    assert any("4096 positions" in error for error in plan_of(folder, "data.max_response_length=4096").errors)
    assert any("4096 positions" in warning for warning in plan_of(folder, "data.max_prompt_length=4000").warnings)


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def write_tokens(folder: Path, tokens: list[str], **more: Any) -> None:
    document = {"model": {"type": "WordLevel", "vocab": {token: number for number, token in enumerate(tokens)}}, **more}
    (folder / "tokenizer.json").write_text(json.dumps(document))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A small policy and a reward model with the same tokenizer."""
    for name in ("policy", "reward"):
        own = write_model(tmp_path / name, SMALL, scored=name == "reward", **SPECIAL, chat_template="{{ messages }}")
        write_tokens(own, ["<s>", "</s>", "<unk>", "<pad>", "a", "b"])
    return tmp_path


def test_models_of_one_base_agree(pair: Path) -> None:
    assert plan_of(pair).fits and not plan_of(pair).warnings
    write_tokens(pair / "reward", ["<s>", "</s>", "<unk>", "<pad>", "a", "b"], truncation={"max_length": 9})
    assert plan_of(pair).fits, "another file, but the same tokens"
    (pair / "reward" / "tokenizer_config.json").write_text(json.dumps({**SPECIAL, "pad_token": "<unk>"}))
    assert plan_of(pair).fits, "pads are masked"


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["<s>", "</s>", "<unk>", "<pad>", "b", "a"], "token 'a' is 4 in the one and 5 in the other"),
        (["<s>", "</s>", "<unk>", "<pad>", "a"], "token 'b' is 5 in the one and missing in the other"),
        (["<s>", "</s>", "<unk>", "<pad>", "a", "b", "c"], "6 tokens against 7"),
    ],
)
def test_other_tokens_are_an_error(pair: Path, tokens: list[str], said: str) -> None:
    write_tokens(pair / "reward", tokens)
    (error,) = plan_of(pair).errors
    assert error.startswith("rewards.judge.path reads other tokens") and said in error


def test_other_special_tokens_and_embeddings_are_errors(pair: Path) -> None:
    (pair / "reward" / "tokenizer_config.json").write_text(json.dumps({**SPECIAL, "eos_token": {"content": "<end>"}}))
    assert "eos is '</s>' in the one and '<end>' in the other" in plan_of(pair).errors[0]
    (pair / "reward" / "tokenizer_config.json").unlink()
    write_model(pair / "reward", {**SMALL, "vocab_size": 32016}, scored=True)
    assert "32,000 embeddings against 32,016" in plan_of(pair).errors[0]
    larger = write_model(pair / "larger", {**SMALL, "vocab_size": 32016})
    write_model(pair / "reward", SMALL, scored=True)
    assert plan_of(pair, f"critic.path={larger}").errors[0].startswith("critic.path reads other tokens")
    assert plan_of(pair, f"reference.path={larger}").errors[0].startswith("reference.path reads other tokens")


def test_another_chat_template_is_warned_of(pair: Path, tmp_path: Path) -> None:
    (pair / "reward" / "chat_template.jinja").write_text("{{   messages }}\n")
    assert not plan_of(pair).warnings, "white space is no difference"
    (pair / "reward" / "chat_template.jinja").write_text("{{ bos_token }}{{ messages }}")
    (warning,) = plan_of(pair).warnings
    assert "chat template of rewards.judge.path" in warning
    (tmp_path / "prompts.jinja").write_text("{{ bos_token }}{{ messages }}")
    assert not plan_of(pair, f"data.template={tmp_path / 'prompts.jinja'}").warnings


def test_pads_must_not_be_the_token_at_which_scores_are_read(pair: Path) -> None:
    for settings_, fits in (
        ({"eos_token": "</s>", "pad_token": "</s>"}, False),
        ({"eos_token": "</s>"}, False),
        ({"eos_token": "</s>", "bos_token": "</s>"}, False),
        ({"eos_token": "</s>", "bos_token": "<s>"}, True),
        ({"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}, True),
        ({"eos_token": "</s>", "pad_token": "<pad>"}, True),
    ):
        for name in ("policy", "reward"):
            (pair / name / "tokenizer_config.json").write_text(json.dumps(settings_))
        plan = plan_of(pair)
        assert plan.fits == fits, settings_
        assert fits or "pads with its end-of-sequence token '</s>'" in plan.errors[0]


def test_a_reward_must_be_a_reward_model(pair: Path) -> None:
    (error,) = plan_of(pair, f"rewards.judge.path={pair / 'policy'}").errors
    assert "rewards.judge.path is no reward model" in error
    (error,) = plan_of(pair, "critic.head=kept").errors
    assert "critic.head is kept" in error
    assert plan_of(pair, "critic.head=kept", f"critic.path={pair / 'reward'}").fits


def test_adapters_for_layers_that_are_not_there_are_an_error(pair: Path) -> None:
    (error,) = plan_of(pair, "model.lora={targets: [c_attn]}").errors
    assert "'c_attn'" in error and "q_proj" in error
