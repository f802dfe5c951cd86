"""Answers that share a row are scored, and train, as if each had a row of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.job.runtime import Runtime
from engine.spec.models import PreferenceData, RmSpec
from engine.spec.sections import Model, Train
from engine.train.batches import plan_parts
from engine.train.rm import RmObjective
from engine.train.scoring import packed, packed_scores_of, padded
from tests.train.conftest import EVAL_PAIRS, MakeSpec
from tests.train.facts import largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer

ALONE = Runtime(0, 0, 1, torch.device("cpu"))
MAX_LENGTH = 64
STEPS = 3
LOGGED = ("loss", "grad_norm", "accuracy", "margin", "tokens")
EVALUATED = ("eval_loss", "eval_accuracy", "eval_margin", "calibration_error", "eval_reward", "eval_reward_std")
LORA = {"rank": 4, "alpha": 16.0}


@pytest.fixture(scope="module")
def objectives(causal: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, RmObjective]:
    """The same objective, packed and not."""
    return {
        packing: RmObjective(
            RmSpec(
                model=Model(path=str(causal)),
                data=PreferenceData(train=str(pairs / "train.jsonl"), max_length=MAX_LENGTH, packing=packing),
                train=Train(precision="fp32", zero_stage=0),
                margin=0.3,
                centering=0.05,
            ),
            tmp_path_factory.mktemp("run"),
            ALONE,
        )
        for packing in (False, True)
    }


@pytest.fixture(scope="module")
def networks(objectives: dict[bool, RmObjective]) -> dict[bool, Any]:
    return {packing: objective.build_network({}).eval() for packing, objective in objectives.items()}


def answers(objective: RmObjective, pairs: int) -> list[Tensor]:
    return [ids for pair in objective.rows[:pairs] for ids in (pair.chosen, pair.rejected)]


def gradients(network: Any, loss: Tensor) -> list[Tensor]:
    network.zero_grad()
    torch.autograd.backward(loss)
    return [parameter.grad.clone() for parameter in network.parameters()]


def test_each_answer_is_read_at_its_own_end(objectives: dict[bool, RmObjective], networks: dict[bool, Any]) -> None:
    sequences, pad = answers(objectives[True], 6), objectives[True].tokenizer.pad_token_id
    batch = packed(sequences, MAX_LENGTH, pad, ALONE.device)
    assert len(batch.input_ids) < len(sequences) and batch.input_ids.shape[1] <= MAX_LENGTH
    assert batch.input_ids.numel() < padded(sequences, pad, ALONE.device).numel()
    assert (batch.input_ids[batch.row, batch.end] == objectives[True].tokenizer.eos_token_id).all()
    assert len(set(zip(batch.row.tolist(), batch.end.tolist(), strict=True))) == len(sequences)
    plain = networks[False]
    alone = torch.stack([plain.score(plain.model(ids[None].long()).last_hidden_state[0, -1])[0] for ids in sequences])
    torch.testing.assert_close(packed_scores_of(networks[True], batch), alone, atol=1e-6, rtol=1e-5)


def test_loss_and_gradients_are_those_without_packing(
    objectives: dict[bool, RmObjective], networks: dict[bool, Any]
) -> None:
    rows = objectives[False].rows[:7]
    exact = {packing: copy.deepcopy(network).double() for packing, network in networks.items()}
    sums = {packing: objective.sums(exact[packing], rows) for packing, objective in objectives.items()}
    for name, value in sums[False].items():
        torch.testing.assert_close(sums[True][name], value, atol=1e-10, rtol=1e-10)
    by_packing = {packing: gradients(exact[packing], one["loss"]) for packing, one in sums.items()}
    for ours, theirs in zip(by_packing[True], by_packing[False], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def test_what_stands_beside_it_in_a_row_does_not_touch_a_score_by_a_bit(
    objectives: dict[bool, RmObjective], networks: dict[bool, Any]
) -> None:
    sequences, pad = answers(objectives[True], 5), objectives[True].tokenizer.pad_token_id
    row = packed(sequences, MAX_LENGTH, pad, ALONE.device).row
    shared = [index for index in range(len(sequences)) if (row == row[index]).sum() > 1]
    assert len(shared) > 3

    def scores(of: list[Tensor]) -> Tensor:
        with torch.no_grad():
            return packed_scores_of(networks[True], packed(of, MAX_LENGTH, pad, ALONE.device))

    before = scores(sequences)
    for index in shared:
        changed = [*sequences]
        changed[index] = torch.cat([changed[index][:-1].flip(0), changed[index][-1:]])
        after = scores(changed)
        others = torch.arange(len(sequences)) != index
        assert torch.equal(after[others], before[others])
        assert after[index] != before[index]


def test_a_batch_without_pairs_is_zero_with_zero_gradients(
    objectives: dict[bool, RmObjective], networks: dict[bool, Any]
) -> None:
    sums = objectives[True].sums(networks[True], [])
    assert {name: float(value.detach()) for name, value in sums.items()} == {"loss": 0, "accuracy": 0, "margin": 0}
    assert all((gradient == 0).all() for gradient in gradients(networks[True], sums["loss"]))


@pytest.mark.parametrize("most_tokens", range(60, 400, 20))
def test_micro_batches_keep_their_budget_of_tokens_packed_or_not(
    objectives: dict[bool, RmObjective], most_tokens: int
) -> None:
    objective = objectives[True]
    plan = plan_parts(
        objective.rows, world_size=2, micro_batch_size=99, micro_batch_tokens=most_tokens, width=objective.width
    )
    for part in (part for parts in plan for part in parts if len(part) > 1):
        sequences = [ids for pair in part for ids in (pair.chosen, pair.rejected)]
        unpacked = padded(sequences, 0, ALONE.device)
        assert packed(sequences, MAX_LENGTH, 0, ALONE.device).input_ids.numel() <= unpacked.numel() <= most_tokens


def settled(run_dir: Path) -> tuple[float, float]:
    config = json.loads((run_dir / "export/config.json").read_text())
    return config["reward_mean"], config["reward_std"]


def run(server: ForkServer, spec: Path, run_dir: Path, world: int) -> Path:
    job = server.start(spec, run_dir, world=world)
    assert job.wait() == [0] * world, job.log()
    return run_dir


def exported_scores(run_dir: Path) -> Iterator[tuple[float, float]]:
    """For each answer in the samples, the score that was logged, and that of transformers and the exported folder."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(run_dir / "export", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(run_dir / "export")
    for sample in samples(run_dir):
        said = [{"role": "user", "content": sample["prompt"]}, {"role": "assistant", "content": sample["response"]}]
        ids = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)["input_ids"]
        with torch.no_grad():
            yield sample["scores"]["reward"], float(model(input_ids=ids).logits)


@pytest.fixture(scope="module")
def specs(make_rm_spec: MakeSpec, causal: Path) -> MakeSpec:
    """Return a function that writes a spec: packed or not, with adapters or without."""
    # The usual 1e-8 makes a step as large as others of a gradient that is nothing but rounding.
    optimizer = {"eps": 1e-4}

    def make(*, packing: bool, adapted: bool, **train: Any) -> Path:
        return make_rm_spec(
            model={"path": str(causal), "lora": LORA} if adapted else None,
            data_settings={"packing": packing},
            **{"steps": STEPS, "lr": 1e-3, "sample_prompts": EVAL_PAIRS, "optimizer": optimizer} | train,
        )

    return make


@pytest.fixture(scope="module")
def expected(server: ForkServer, specs: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Runs without packing on one rank, with adapters and without."""
    folder = tmp_path_factory.mktemp("expected")
    return {
        adapted: run(server, specs(packing=False, adapted=adapted), folder / f"adapted-{adapted}", 1)
        for adapted in (False, True)
    }


@pytest.fixture
def run_packed(server: ForkServer, specs: MakeSpec, tmp_path: Path) -> Callable[..., Path]:
    return lambda world, **settings: run(server, specs(packing=True, **settings), tmp_path / "run", world)


@pytest.mark.parametrize(
    ("world", "settings"),
    [
        (1, {"zero_stage": 0}),
        (2, {"zero_stage": 0, "micro_batch_size": 10}),
        (1, {"zero_stage": 3}),
        (2, {"zero_stage": 3, "micro_batch_size": 2, "gradient_checkpointing": True}),
        (2, {"zero_stage": 3, "adapted": True}),
    ],
)
def test_packed_training_is_unpacked_training(
    run_packed: Callable[..., Path], expected: dict[bool, Path], world: int, settings: dict[str, Any]
) -> None:
    plain, actual = expected["adapted" in settings], run_packed(world, **{"adapted": False} | settings)
    for name in (*LOGGED, *EVALUATED):
        points = series(plain, name)
        assert len(points) == (1 if name in EVALUATED else STEPS), name
        assert series(actual, name) == pytest.approx(points, rel=1e-5, abs=2e-6), name
    assert settled(actual) == pytest.approx(settled(plain), rel=1e-5, abs=1e-6)
    assert largest_difference(weights(actual), weights(plain)) < 1e-5
    scores = list(exported_scores(actual))
    assert len(scores) == 2 * EVAL_PAIRS
    for logged, exported in scores:
        assert logged == pytest.approx(exported, abs=1e-5)
