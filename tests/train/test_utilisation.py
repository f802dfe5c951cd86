"""The utilisation that runs log is what their passes through their networks take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.plan.operations import training_operations
from engine.spec.loading import load_spec, parse_spec
from engine.train.batches import Row
from engine.train.utilisation import Pass, Utilisation, counted_networks, device_peak
from tests.train.conftest import MakeSpec
from tests.train.facts import series
from tests.train.forkserver import ForkServer

PEAK = 1e12  # operations a second that a rank is taken to compute at most
LORA = {"rank": 4}


@pytest.fixture
def operations(server: ForkServer, tmp_path: Path) -> Any:
    """Return a function that runs a spec and returns the operations of its first step, and its tokens."""

    def run(spec: Path, *, world: int = 1) -> tuple[float, float]:
        job = server.start(spec, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", world=world, peak=PEAK)
        assert job.wait() == [0] * world, job.log()
        mfu, seconds = series(job.run_dir, "mfu")[1], series(job.run_dir, "seconds_per_step")[1]
        return mfu * seconds * PEAK * world, series(job.run_dir, "tokens")[1]

    return run


def test_examples_of_a_packed_row_do_not_see_one_another() -> None:
    packed = Row.of(range(9), [True] * 9, [0, 1, 2, 0, 1, 0, 1, 2, 3])
    assert packed.lengths == [3, 2, 4] and Row.of(range(5), [True] * 5).lengths == [5]


def test_adapters_over_two_ranks_take_what_the_plan_says(
    operations: Any, make_spec: MakeSpec, make_rm_spec: MakeSpec, causal: Path
) -> None:
    for make in (make_spec, make_rm_spec):
        spec = make(model={"path": str(causal), "lora": LORA}, steps=1)
        found, tokens = operations(spec, world=2)
        networks = counted_networks(load_spec(spec))
        assert networks is not None
        weights = training_operations(networks["model"], [1]) - 12 * 2 * 32
        attention = found - weights * tokens
        # Each token sees a sequence of at least one and at most 64 tokens.
        assert 12 * 2 * 32 * tokens < attention < 12 * 2 * 32 * tokens * 64


def test_ppo_counts_writing_and_scoring_forward_and_each_pass_there_and_back(
    operations: Any, make_ppo_spec: MakeSpec, causal: Path
) -> None:
    def first_step(epochs: int, judge: bool = False) -> tuple[float, float]:
        rewards = {"short": {"kind": "length", "target": 2}} | ({"judge": {"evidence": False}} if judge else {})
        spec = make_ppo_spec(settings={"rewards": rewards, "ppo": {"inner_epochs": epochs}}, steps=1)
        found: tuple[float, float] = operations(spec)
        return found

    once, tokens = first_step(1)
    twice, same = first_step(2)
    assert same == tokens  # the same answers
    # Of a forward pass through the policy P and the critic C: P to write, P + P + C to score with the reference, and
    # 3 P + 3 C for each pass over the answers.
    both = (twice - once) / 3
    policy = (once - 4 * both) / 2
    critic = both - policy
    networks = counted_networks(load_spec(make_ppo_spec()))
    assert networks is not None
    shape = networks["policy"].shape
    assert policy - critic == pytest.approx(2 * tokens * (shape.vocabulary - 1) * shape.hidden, rel=1e-6)
    judged, _ = first_step(1, judge=True)
    assert judged - once == pytest.approx(critic, rel=0.5)  # as large, and it reads the answers as well


def test_what_is_not_known_has_no_utilisation(causal: Path) -> None:
    text = "kind: sft\nmodel: {{path: {}}}\ndata: {{train: a.jsonl}}\n"
    known = parse_spec(text.format(causal), "spec.yaml")
    networks = counted_networks(known)  # type: ignore[arg-type]
    assert networks is not None
    assert counted_networks(parse_spec(text.format(causal / "none"), "spec.yaml")) is None  # type: ignore[arg-type]
    assert device_peak(torch.device("cpu"), "bf16") is None
    utilisation = Utilisation(networks, PEAK)
    assert utilisation.share([Pass("another", [3])], 1.0) is None
    assert utilisation.share([], 1.0) is None
    forward, there_and_back = (utilisation.share([Pass("model", [3], trains=each)], 2.0) for each in (False, True))
    assert forward and there_and_back and there_and_back == pytest.approx(3 * forward)
