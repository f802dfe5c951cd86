"""What a finding of the health rules makes of a run: a pause that is resumed, or a way back to what was good."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.train.health import WINDOW
from tests.train.conftest import MakeSpec
from tests.train.facts import events, largest_difference, series, weights
from tests.train.forkserver import ForkServer

INTERRUPTED = 130
# The second step is the first whose policy is no longer the reference: the finding comes a window later.
FOUND = 1 + WINDOW


def far_from_the_reference(
    make_ppo_spec: MakeSpec,
    *,
    steps: int,
    health: Mapping[str, Any],
    ptx: Mapping[str, Any] | None = None,
    **train: Any,
) -> Path:
    """A run whose divergence is over its limit at every step but the first."""
    settings: dict[str, Any] = {
        "rewards": {"short": {"kind": "length", "target": 1}},
        "rollout": {"prompts": 4, "samples_per_prompt": 2, "batch_size": 8, "temperature": 0.8},
        "ppo": {"inner_epochs": 2, "kl_coef": 0.0, "kl_target": None},
    }
    settings |= {"ptx": dict(ptx)} if ptx is not None else {}
    train = {"lr": 3e-2, "schedule": {"kind": "constant"}, "micro_batch_size": 8} | train
    others = dict.fromkeys(("negative_kl", "collapse", "repetition", "no_eos", "critic"), "off")
    return make_ppo_spec(settings=settings, steps=steps, health={"kl_limit": 1e-3} | others | dict(health), **train)


def tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield what torch saved of tensors, by place."""
    if isinstance(value, Tensor):
        yield path, value.detach()
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from tensors(below, f"{path}/{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, below in enumerate(value):
            yield from tensors(below, f"{path}/{index}")


def networks(run_dir: Path, step: int) -> dict[str, Tensor]:
    """Return all tensors of networks and optimisers that a checkpoint holds."""
    folder = run_dir / f"checkpoints/step-{step:08d}"
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*/*.pt")):
        name = str(file.relative_to(folder))
        found |= dict(tensors(torch.load(file, weights_only=False), name))
    return found


def kept(run_dir: Path) -> list[int]:
    """Return the steps of the checkpoints."""
    return sorted(int(folder.name.removeprefix("step-")) for folder in (run_dir / "checkpoints").glob("step-*"))


def test_a_paused_run_goes_on_as_one_that_was_only_warned(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path
) -> None:
    steps = FOUND + 3
    warned = far_from_the_reference(make_ppo_spec, steps=steps, health={"kl_over_limit": "warn"})
    whole = server.start(warned, tmp_path / "warned", world=1)
    assert whole.wait() == [0], whole.log()
    (finding,) = events(whole.run_dir, "health")
    assert (finding["level"], finding["step"], finding["data"]["action"]) == ("warning", FOUND, "warn")

    spec = far_from_the_reference(make_ppo_spec, steps=steps, health={"kl_over_limit": "pause"})
    job = server.start(spec, tmp_path / "paused", world=1)
    assert job.wait() == [INTERRUPTED], job.log()
    (finding,), (paused,) = events(job.run_dir, "health"), events(job.run_dir, "paused")
    assert (finding["level"], finding["step"]) == ("error", FOUND)
    assert finding["data"] == {"rule": "kl_over_limit", "action": "pause", "since": 2}
    assert "stays above the limit of 0.001" in finding["message"]
    assert paused["step"] == FOUND
    assert kept(job.run_dir) == [FOUND]
    assert not (job.run_dir / "export").exists()

    resumed = server.start(spec, job.run_dir, world=1)
    assert resumed.wait() == [0], resumed.log()
    assert len(events(job.run_dir, "health")) == 1  # it was told, and is not told again
    for name in ("score", "kl", "policy_loss", "value_loss", "lr"):
        assert series(job.run_dir, name) == series(whole.run_dir, name)
    assert largest_difference(weights(job.run_dir), weights(whole.run_dir)) == 0.0


@pytest.mark.parametrize(("stage", "world"), [(0, 1), (2, 2), pytest.param(3, 2, marks=pytest.mark.cluster)])
def test_a_rollback_brings_back_what_the_checkpoint_holds_and_comes_only_so_often(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path, stage: int, world: int
) -> None:
    spec = far_from_the_reference(
        make_ppo_spec,
        steps=100,
        health={"kl_limit": 1.0, "kl_over_limit": "rollback", "rollback_lr": 0.5, "most_rollbacks": 2},
        lr=1e-2,
        schedule={"kind": "constant", "warmup_steps": 12},  # so that there is something to go back to
        checkpoint_every=2,
        keep_checkpoints=20,
        zero_stage=stage,
        ptx={"coef": 1e-9, "batch_size": 2},  # only its rows matter
    )
    job = server.start(spec, tmp_path / "run", world=world)
    assert job.wait() == [INTERRUPTED] * world, job.log()
    found, (first, second) = events(job.run_dir, "health")[0], events(job.run_dir, "rolled_back")
    step, back = found["step"], first["data"]["to_step"]
    assert (first["step"], found["data"]["action"]) == (step, "rollback")
    # Step `since` measured the networks of the step before it, so that they show the fault already.
    assert found["data"]["since"] - 3 <= back < found["data"]["since"] - 1
    then, now, left = (networks(job.run_dir, one) for one in (back, step, back + 2))
    assert len(then) > 20
    assert difference(now, then) == 0.0 < difference(now, left)
    rates, epochs = series(job.run_dir, "lr"), series(job.run_dir, "epoch")
    assert rates[step + 1] == 0.5 * rates[step]
    seen = {
        one: json.loads((job.run_dir / f"checkpoints/step-{one:08d}/state.json").read_text()) for one in (back, step)
    }
    assert seen[step]["own"]["ptx_rows_seen"] / step == seen[back]["own"]["ptx_rows_seen"] / back > 0  # nor other text
    assert epochs[step + 1] - epochs[step] == pytest.approx(epochs[1])  # other rows than after the checkpoint

    # The evidence from before does not count. What was left behind is newer than that, and is not gone back to.
    assert second["step"] >= step + WINDOW
    assert second["data"]["to_step"] >= step
    (paused,) = events(job.run_dir, "paused")
    assert paused["step"] >= second["step"] + WINDOW
    assert rates[paused["step"]] == 0.25 * rates[step]
    assert "Rolled back already" in events(job.run_dir, "health")[-1]["message"]
    assert kept(job.run_dir)[-1] == paused["step"]


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest absolute difference of tensors of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one if one[name].numel())


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (2, "fp32"), (1, "bf16"), (3, "bf16")])
def test_a_run_that_exploded_goes_back_to_networks_that_had_not(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, stage: int, precision: str
) -> None:
    settings: dict[str, Any] = {
        "zero_stage": stage,
        "precision": precision,
        "schedule": {"kind": "constant"},
        "checkpoint_every": 1,
        "eval_every": 1,
        "health": {"not_finite": "rollback", "rollback_lr": 1e-32},
    }
    job = server.start(make_spec(steps=3, **settings), tmp_path / "run", world=1)
    assert job.wait() == [0], job.log()

    # Step 4 leaves weights that are finite and useless, and a checkpoint of them; step 5 finds out.
    resumed = server.start(make_spec(steps=9, lr=1e30, **settings), job.run_dir, world=1)
    assert resumed.wait() == [0], resumed.log()
    (rolled_back,) = events(job.run_dir, "rolled_back")
    assert rolled_back["data"]["to_step"] == 3
    step = rolled_back["step"]
    assert series(job.run_dir, "lr")[step + 1] == pytest.approx(1e-2)
    losses = series(job.run_dir, "loss")
    assert all(torch.tensor(losses[later]).isfinite() for later in range(step + 1, 10))
    assert losses[9] < losses[1]
    assert all(weight.isfinite().all() for weight in weights(job.run_dir).values())


@pytest.fixture(scope="module")
def poisoned(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that computes no number where it reads of Cairo."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("poisoned") / "model"
    shutil.copytree(causal, folder)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(causal), AutoTokenizer.from_pretrained(causal)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.get_vocab()[" cairo"]] = torch.inf
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("action", ["pause", "rollback"])
def test_no_checkpoint_ever_holds_what_a_broken_row_made(
    server: ForkServer, make_spec: MakeSpec, poisoned: Path, tmp_path: Path, action: str
) -> None:
    rows = [{"prompt": "where did ada travel ?", "response": f"to {place} ."} for place in ("oslo", "rome") * 12]
    rows[7]["response"] = "to cairo ."
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = make_spec(
        model={"path": str(poisoned), "lora": {"rank": 2, "dropout": 0.1}},
        data_settings={"train": str(file), "eval": None},
        steps=40,
        batch_size=4,
        checkpoint_every=1,
        keep_checkpoints=40,
        schedule={"kind": "constant"},
        health={"not_finite": action, "most_rollbacks": 2},
    )
    job = server.start(spec, tmp_path / "run", world=1)
    assert job.wait() == [INTERRUPTED], job.log()
    broken = [step for step, loss in series(job.run_dir, "loss").items() if not torch.tensor(loss).isfinite()]
    assert len(broken) == (1 if action == "pause" else 3)
    assert len({(step - 1) // 6 for step in broken}) == len(broken)  # the rows go on: once an epoch
    rolled_back = {event["step"]: event["data"]["to_step"] for event in events(job.run_dir, "rolled_back")}
    assert list(rolled_back) == broken[:-1]
    for step, back in rolled_back.items():  # and so do the random numbers of dropout
        now, then = (job.run_dir / f"checkpoints/step-{one:08d}/rank-0.pt" for one in (step, back))
        assert not torch.equal(torch.load(now)["torch"], torch.load(then)["torch"])
    (paused,) = events(job.run_dir, "paused")
    assert paused["step"] == broken[-1]
    assert kept(job.run_dir)[-1] == broken[-1] - 1  # the networks of the last step are worth nothing
    for step in kept(job.run_dir):
        for name, tensor in networks(job.run_dir, step).items():
            assert not tensor.isnan().any(), (step, name)
    halves = series(job.run_dir, "lr")
    assert halves[broken[-1]] == 1e-2 * 0.5 ** (len(broken) - 1)
