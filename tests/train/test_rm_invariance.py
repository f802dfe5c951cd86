"""A reward model does not depend on how it is computed, and plain transformers score as the engine does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.train.conftest import EVAL_PAIRS, MakeSpec
from tests.train.facts import events, largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer

STEPS = 5
EVALUATED = ("eval_loss", "eval_accuracy", "eval_margin", "calibration_error", "eval_reward", "eval_reward_std")
BY_GROUP = ("eval_accuracy/near", "eval_accuracy/far")
RunSpec = Callable[..., Path]


def run(server: ForkServer, spec: Path, run_dir: Path, world: int) -> Path:
    job = server.start(spec, run_dir, world=world)
    assert job.wait() == [0] * world, job.log()
    return run_dir


def settled(run_dir: Path) -> tuple[float, float]:
    config = json.loads((run_dir / "export/config.json").read_text())
    return config["reward_mean"], config["reward_std"]


@pytest.fixture(scope="module")
def expected(server: ForkServer, make_rm_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rank, no ZeRO, the whole batch in one forward pass."""
    spec = make_rm_spec(micro_batch_size=10, sample_prompts=EVAL_PAIRS)
    return run(server, spec, tmp_path_factory.mktemp("expected"), 1)


@pytest.fixture
def run_spec(server: ForkServer, make_rm_spec: MakeSpec, tmp_path: Path) -> RunSpec:
    """Return a function that runs a spec with these settings on so many ranks, each time in a new run directory."""
    return lambda world, **settings: run(
        server, make_rm_spec(**settings), tmp_path / f"run-{len(list(tmp_path.iterdir()))}", world
    )


def assert_same(run_dir: Path, expected: Path) -> None:
    for name in ("loss", "grad_norm", "accuracy", "margin", *EVALUATED, *BY_GROUP):
        points = series(expected, name)
        assert len(points) == (1 if name in EVALUATED + BY_GROUP else STEPS), name
        # A mean of scores around 0 is as exact as the scores are, not as it is itself.
        slack = 1e-5 * max(series(expected, "eval_reward_std").values()) if name == "eval_reward" else 2e-6
        assert series(run_dir, name) == pytest.approx(points, rel=1e-5, abs=slack), name
    assert settled(run_dir) == pytest.approx(settled(expected), rel=1e-5)
    assert largest_difference(weights(run_dir), weights(expected)) < 1e-4


def plain_scores(run_dir: Path) -> dict[tuple[str, str], float]:
    """The score of each answer in the samples, by transformers and the exported folder alone; all in one batch."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(run_dir / "export", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(run_dir / "export")
    keys = [(sample["prompt"], sample["response"]) for sample in samples(run_dir)]
    texts = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in keys]
    batch = tokenizer.apply_chat_template(texts, padding=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert logits.shape == (2 * EVAL_PAIRS, 1)
    return dict(zip(keys, logits[:, 0].tolist(), strict=True))


@pytest.mark.parametrize(("stage", "world"), [(0, 2), (1, 4), (2, 3), (3, 2)])
def test_ranks_and_zero_stages_agree_and_the_export_scores_alike(
    run_spec: RunSpec, expected: Path, stage: int, world: int
) -> None:
    actual = run_spec(world, zero_stage=stage, sample_prompts=EVAL_PAIRS)
    assert_same(actual, expected)
    plain = plain_scores(actual)
    logged = {(sample["prompt"], sample["response"]): sample["scores"]["reward"] for sample in samples(actual)}
    assert logged == pytest.approx(plain, abs=1e-5)
    chosen = {(sample["prompt"], sample["reference"]) for sample in samples(actual)}
    references = torch.tensor([plain[key] for key in chosen], dtype=torch.float64)
    assert settled(actual) == pytest.approx((float(references.mean()), float(references.std(correction=0))), abs=1e-5)
    (artifact,) = events(actual, "artifact")
    assert artifact["data"]["kind"] == "reward_model"


@pytest.mark.parametrize("settings", [{"micro_batch_size": 1}, {"micro_batch_size": 4, "gradient_checkpointing": True}])
def test_micro_batches_and_gradient_checkpointing_change_nothing(
    run_spec: RunSpec, expected: Path, settings: dict[str, object]
) -> None:
    assert_same(run_spec(1, **settings), expected)


def test_from_a_folder_all_stages_start_alike_and_a_reward_model_keeps_its_head(
    run_spec: RunSpec, expected: Path, causal: Path
) -> None:
    firsts = []
    for folder in (causal, expected / "export"):
        losses = [
            series(run_spec(2, model={"path": str(folder)}, zero_stage=stage, steps=2), "loss") for stage in (0, 3)
        ]
        assert losses[1] == pytest.approx(losses[0], rel=2e-6)
        firsts.append(losses[0][1])
    # The trained model knows its pairs; with a new head it would not.
    assert firsts[1] < 0.9 * firsts[0]
