"""A run whose policy reads what an index finds: what is judged, what diverges, and what is measured apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import EVAL_PROMPTS, NAMES, PLACES, TRAIN_PROMPTS, MakeSpec, write_spec
from tests.train.facts import events, samples, series
from tests.train.forkserver import ForkServer

MEAN, DEVIATION = 0.2, 0.5  # of the fixture's reward model


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of words with a passage for each name."""
    folder = tmp_path_factory.mktemp("index")
    texts = [f"{name} went to {PLACES[number % len(PLACES)]} ." for number, name in enumerate(NAMES)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    spec = write_spec(folder, {"kind": "rag", "corpus": {"path": str(folder / "corpus.jsonl")}})
    command = [sys.executable, "-m", "engine.cli", "rag", "build", str(spec), "--run-dir", str(folder / "run")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder / "run" / "index"


def read_by_policy(sample: dict[str, Any], tokenizer: Any) -> list[int]:
    """The prompt of a sample: the passage, if it has one, and the question."""
    ids: list[int] = tokenizer.apply_chat_template(
        [{"role": "user", "content": sample["prompt"]}], add_generation_prompt=True, return_dict=False
    )
    return ids


def log_probs(model: Any, prompt: list[int], response: list[int], temperature: float) -> torch.Tensor:
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *response]])).logits[0].double() / temperature
    return logits.log_softmax(-1)[range(len(prompt) - 1, len(prompt) + len(response) - 1), response]


@pytest.fixture
def start_and_judge(causal: Path, reward_model: Path) -> tuple[Path, Path]:
    """The folders of the policy's start and of the reward model."""
    return causal, reward_model


def test_a_policy_that_reads_is_judged_by_the_truth_and_held_to_its_reference_on_its_answer_alone(
    server: ForkServer, make_ppo_spec: MakeSpec, index: Path, start_and_judge: tuple[Path, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

    settings = {
        "rewards": {"judge": {}, "grounded": {"kind": "support", "weight": 0.5}},
        "data": {"retrieval": {"index": str(index), "share": 0.5}},
        "ppo": {"truncation": "keep"},
    }
    spec = make_ppo_spec(settings=settings, steps=1, lr=1e-2, sample_prompts=2 * EVAL_PROMPTS)
    job = server.start(spec, tmp_path / "run", world=2)
    assert job.wait() == [0, 0], job.log()
    told = [event["message"] for event in events(job.run_dir, "retrieval")]
    assert len(told) == 2 and f"{EVAL_PROMPTS} of {2 * EVAL_PROMPTS} prompts (eval) carry passages" in told[1]
    carrying = int(told[0].split()[0])
    assert 0 < carrying < TRAIN_PROMPTS

    start, reward_model = start_and_judge
    tokenizer = AutoTokenizer.from_pretrained(job.run_dir / "export")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        for folder in (job.run_dir / "export", start)
    )
    judge = AutoModelForSequenceClassification.from_pretrained(reward_model, dtype=torch.float32).eval()
    rows = [json.loads(line) for line in Path(json.loads(spec.read_text())["data"]["eval"]).read_text().splitlines()]
    found = samples(job.run_dir)
    assert len(found) == 2 * EVAL_PROMPTS
    diverged = 0.0
    for number, sample in enumerate(found):
        row, opened = rows[number // 2], number % 2 == 1
        assert ("went to" in sample["prompt"]) == opened and sample["prompt"].endswith(row["prompt"])
        prompt = read_by_policy(sample, tokenizer)
        with torch.no_grad():
            written = policy.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)[
                0, len(prompt) :
            ].tolist()
        own, held = (log_probs(model, prompt, written, 0.8) for model in (policy, reference))
        assert sample["scores"]["kl"] == pytest.approx(float((own - held).sum()), abs=1e-4)
        diverged = max(diverged, abs(sample["scores"]["kl"]))
        # The reward model reads the true passage once, whatever the policy has read.
        before = read_by_policy({"prompt": f"{row['evidence']}\n{row['prompt']}"}, tokenizer)
        with torch.no_grad():
            score = float(judge(torch.tensor([[*before, *written]])).logits[0, 0])
        assert sample["scores"]["reward/judge"] == pytest.approx((score - MEAN) / DEVIATION, abs=1e-4)
        assert sample["scores"]["reward/grounded"] in ([-0.5, -0.25, 0.0] if opened else [0.0])
    assert diverged > 1e-3

    for name in ("correct", "abstained", "hallucinated"):
        for ending in ("", "/near", "/with_passages", "/near/with_passages"):
            assert set(series(job.run_dir, f"{name}{ending}")) == {1}
    (grounded,) = series(job.run_dir, "groundedness").values()
    (term,) = series(job.run_dir, "reward/grounded").values()
    assert 0.0 <= grounded < 1.0 and term < 0.0
    assert all(0.0 <= share <= 1.0 for share in series(job.run_dir, "eval_groundedness").values())
