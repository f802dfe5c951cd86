"""What is computed does not depend on how many ranks compute it, nor on how DeepSpeed spreads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer

STEPS = 5
RunSpec = Callable[..., Path]


def run(server: ForkServer, spec: Path, run_dir: Path, world: int) -> Path:
    job = server.start(spec, run_dir, world=world)
    assert job.wait() == [0] * world, job.log()
    return run_dir


@pytest.fixture(scope="module")
def expected(server: ForkServer, make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rank, no ZeRO, the whole batch in one forward pass."""
    return run(server, make_spec(micro_batch_size=10), tmp_path_factory.mktemp("expected"), 1)


@pytest.fixture
def run_spec(server: ForkServer, make_spec: MakeSpec, tmp_path: Path) -> RunSpec:
    """Return a function that runs a spec with these settings on so many ranks."""
    return lambda world, **settings: run(server, make_spec(**settings), tmp_path / "run", world)


def assert_same(run_dir: Path, expected: Path, *, tolerance: float) -> None:
    for name in ("loss", "grad_norm", "eval_loss"):
        points = series(expected, name)
        assert len(points) == (1 if name == "eval_loss" else STEPS)
        assert series(run_dir, name) == pytest.approx(points, rel=tolerance), name


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_ranks_and_zero_stages_agree_in_fp32(run_spec: RunSpec, expected: Path, stage: int, world: int) -> None:
    actual = run_spec(world, zero_stage=stage)
    assert_same(actual, expected, tolerance=2e-6)
    assert largest_difference(weights(actual), weights(expected)) < 1e-4
    assert samples(actual)[0]["response"] == samples(expected)[0]["response"]


@pytest.fixture(scope="module")
def expected_gently(server: ForkServer, make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a learning rate at which rounding does not choose the way; still in fp32."""
    return run(server, make_spec(micro_batch_size=10, lr=1e-3), tmp_path_factory.mktemp("gently"), 1)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_zero_stages_agree_in_bf16(run_spec: RunSpec, expected_gently: Path, stage: int) -> None:
    assert_same(run_spec(2, zero_stage=stage, precision="bf16", lr=1e-3), expected_gently, tolerance=2e-2)


@pytest.mark.parametrize(
    ("world", "settings"),
    [
        (1, {"micro_batch_size": 1}),
        (2, {"micro_batch_size": 4, "gradient_checkpointing": True}),
        (3, {"micro_batch_size": 2, "zero_stage": 2, "offload_optimizer": True}),
        (2, {"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True, "gradient_checkpointing": True}),
    ],
)
def test_micro_batches_offload_and_gradient_checkpointing_change_nothing(
    run_spec: RunSpec, expected: Path, world: int, settings: dict[str, object]
) -> None:
    assert_same(run_spec(world, **settings), expected, tolerance=2e-6)
