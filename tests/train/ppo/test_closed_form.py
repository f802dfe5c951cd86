"""The whole PPO trainer where its optimum is known: π* ∝ π_ref · exp(reward / kl_coef) over every answer."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from tests.train.forkserver import ForkServer

PAD, END = 0, 1
TOKENS = ("<|pad|>", "<|eos|>", "p", "q", "r")
SPECIAL = 2
LONGEST = 3  # an answer ends by itself or at the third token
# Prompts of different lengths, each with the answer that is accepted. They hold different tokens: over equal ones
# attention has nothing to choose from, and a model without a token for the beginning cannot count them.
PROMPTS = {"q p": "r", "p r q": "r p"}
KL_COEF, TEMPERATURE = 0.4, 0.8
STEPS, EPISODES, GROUP = 70, 512, 8
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] ~ ' ' }}{% endif %}{% endfor %}"
)
REWARDS: dict[str, dict[str, Any]] = {
    "begins": {"kind": "regex", "pattern": "^p", "weight": 1.0},
    "holds": {"kind": "regex", "pattern": "q r", "weight": 1.0},
    "ends": {"kind": "regex", "pattern": "r$", "weight": -0.5},
    "right": {"kind": "exact_match", "wrong": 0.0, "weight": 1.5},
    "short": {"kind": "length", "target": 2, "weight": 0.4},
}


def reward(prompt: str, answer: tuple[int, ...]) -> float:
    """What `REWARDS` say of an answer, written down once more."""
    text = " ".join(TOKENS[token] for token in answer if token >= SPECIAL)
    return (
        1.0 * text.startswith("p")
        + 1.0 * ("q r" in text)
        - 0.5 * text.endswith("r")
        + 1.5 * (text == PROMPTS[prompt])
        - 0.4 * (len(answer) > 2) / 2
    )


@dataclass(frozen=True)
class World:
    """Every answer to each prompt, with its reward: [prompts, answers]."""

    answers: list[tuple[int, ...]]
    rewards: Tensor

    @classmethod
    def whole(cls) -> Self:
        words = [token for token in range(len(TOKENS)) if token != END]  # all of the vocabulary is sampled from
        answers = [(*p, END) for n in range(LONGEST) for p in itertools.product(words, repeat=n)]
        answers += itertools.product(words, repeat=LONGEST)
        rewards = [[reward(prompt, answer) for answer in answers] for prompt in PROMPTS]
        return cls(answers, torch.tensor(rewards, dtype=torch.float64))

    def log_probs(self, folder: Path) -> Tensor:
        """Return the exact log-probability of every answer by the model of a folder: [prompts, answers]."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        found = []
        for prompt in PROMPTS:
            before = [TOKENS.index(word) for word in prompt.split()]
            rows = [[*before, *answer, *[PAD] * (LONGEST - len(answer))] for answer in self.answers]
            ids = torch.tensor(rows)
            with torch.no_grad():
                logits = model(ids).logits[:, len(before) - 1 : -1].double()
            by_token = (logits / TEMPERATURE).log_softmax(-1).gather(-1, ids[:, len(before) :, None]).squeeze(-1)
            lengths = torch.tensor([len(answer) for answer in self.answers])
            found.append((by_token * (torch.arange(LONGEST) < lengths[:, None])).sum(-1))
        return torch.stack(found)

    def standing(self, log_probs: Tensor, reference: Tensor) -> tuple[float, float]:
        """Return expected reward, and divergence from the reference in nats per sequence, over both prompts."""
        p = log_probs.exp()
        assert p.sum(-1).tolist() == pytest.approx([1.0] * len(PROMPTS), abs=1e-6)
        return float((p * self.rewards).sum(-1).mean()), float((p * (log_probs - reference)).sum(-1).mean())


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that knows five tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, unk_token=TOKENS[PAD]))
    pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": TOKENS[PAD], "eos_token": TOKENS[END]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, clean_up_tokenization_spaces=False, **named)
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.1,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("start")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def written_spec(folder: Path, start: Path, estimator: str) -> Path:
    """Write the spec of a run, and its prompts."""
    prompts = folder / "prompts.jsonl"
    rows = [{"prompt": prompt, "answers": [accepted]} for prompt, accepted in PROMPTS.items()]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {
        "kind": "ppo",
        "seed": 1,
        "model": {"path": str(start)},
        "rewards": REWARDS,
        "data": {"train": str(prompts), "max_response_length": LONGEST},
        "rollout": {
            "prompts": EPISODES // GROUP,
            "samples_per_prompt": GROUP,
            "batch_size": EPISODES,
            "temperature": TEMPERATURE,
        },
        "ppo": {"estimator": estimator, "kl_coef": KL_COEF, "inner_epochs": 2, "truncation": "keep"},
        "critic": {"lr": 1e-2},
        "train": {
            "steps": STEPS,
            "batch_size": EPISODES // 2,
            "micro_batch_size": EPISODES // 2,
            "lr": 5e-3,
            "schedule": {"kind": "linear", "warmup_steps": 5, "final_fraction": 0.01},
            "optimizer": {"beta2": 0.99},
            "precision": "fp32",
            "zero_stage": 0,
        },
    }
    path = folder / "spec.yaml"
    path.write_text(json.dumps(spec))  # JSON is YAML
    return path


@pytest.mark.parametrize("estimator", ["gae", "rloo"])
def test_the_trainer_reaches_the_reward_and_the_divergence_of_the_optimum(
    server: ForkServer, start: Path, tmp_path: Path, estimator: str
) -> None:
    world = World.whole()
    reference = world.log_probs(start)
    optimum = (reference + world.rewards / KL_COEF).log_softmax(-1)
    best_reward, best_divergence = world.standing(optimum, reference)
    assert best_reward > world.standing(reference, reference)[0] + 0.5  # there is something to learn
    job = server.start(written_spec(tmp_path, start, estimator), tmp_path / "run", world=1)
    assert job.wait() == [0], job.log()
    found, divergence = world.standing(world.log_probs(job.run_dir / "export"), reference)
    assert found == pytest.approx(best_reward, rel=0.03)
    assert divergence == pytest.approx(best_divergence, rel=0.03)
