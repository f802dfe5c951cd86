"""The average of the weights follows its formula, stands in for them, and is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.job.runtime import Runtime
from engine.train.ppo.ema import MovingAverage
from tests.train.conftest import MakeSpec
from tests.train.facts import largest_difference, weights
from tests.train.forkserver import ForkServer

ALONE = Runtime(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))
DECAY = 0.9


def network(dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2).to(dtype)


def moved(layer: nn.Linear, by: float) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(by)


def test_it_follows_the_formula_in_float32_also_over_bf16_weights() -> None:
    layer = network(torch.bfloat16)
    average = MovingAverage(dict(layer.named_parameters()), DECAY)
    expected = {name: p.detach().double() for name, p in layer.named_parameters()}
    for step in range(20):
        moved(layer, 0.5 / (step + 1))
        average.update()
        expected = {
            name: DECAY * expected[name] + (1 - DECAY) * p.detach().double() for name, p in layer.named_parameters()
        }
    for name, value in average.state(ALONE).items():
        assert value.dtype == torch.float32
        assert torch.allclose(value.double(), expected[name], atol=1e-6)


def test_it_stands_in_for_the_weights_and_gives_them_back_to_the_bit() -> None:
    layer = network(torch.bfloat16)
    average = MovingAverage(dict(layer.named_parameters()), DECAY)
    moved(layer, 1.0)
    average.update()
    kept = {name: p.detach().clone() for name, p in layer.named_parameters()}
    before = average.state(ALONE)
    with pytest.raises(ZeroDivisionError), average.applied():
        for name, p in layer.named_parameters():
            assert torch.equal(p.detach(), before[name].to(torch.bfloat16))
            assert not torch.equal(p.detach(), kept[name])
        raise ZeroDivisionError
    assert all(torch.equal(p.detach(), kept[name]) for name, p in layer.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in average.state(ALONE).items())


def test_its_state_goes_round() -> None:
    layer = network()
    whole, resumed = (MovingAverage(dict(layer.named_parameters()), DECAY) for _ in range(2))
    for _ in range(3):
        moved(layer, 0.3)
        whole.update()
    state = whole.state(ALONE)
    resumed.restore(state, ALONE)
    for _ in range(3):
        moved(layer, -0.7)
        whole.update()
        resumed.update()
    assert all(map(torch.equal, whole.state(ALONE).values(), resumed.state(ALONE).values()))
    assert not any(map(torch.equal, whole.state(ALONE).values(), state.values()))  # what was kept stayed as it was


def test_the_exported_average_is_the_same_at_every_zero_stage(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path
) -> None:
    exports = []
    for stage, world in ((0, 1), (2, 2), (3, 2)):
        spec = make_ppo_spec(settings={"ppo": {"ema_decay": 0.6}}, lr=1e-2, zero_stage=stage)
        job = server.start(spec, tmp_path / f"stage-{stage}", world=world)
        assert job.wait() == [0] * world, job.log()
        exports.append((weights(job.run_dir, "export-average"), weights(job.run_dir)))
    for average, policy in exports:
        assert largest_difference(average, exports[0][0]) < 2e-4
        assert largest_difference(average, policy) > 2e-3
