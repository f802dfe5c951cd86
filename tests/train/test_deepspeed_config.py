"""From a spec to DeepSpeed's configuration."""

from __future__ import annotations

import pytest

from engine.spec.sections import Train
from engine.train.deepspeed_config import deepspeed_config


def test_the_batch_sizes_agree_as_deepspeed_demands() -> None:
    config = deepspeed_config(Train(batch_size=10, micro_batch_size=3), world_size=2, micro_steps=2)
    assert config["train_batch_size"] == config["train_micro_batch_size_per_gpu"] * 2 * 2
    assert config["gradient_accumulation_steps"] == 2


def test_offload_names_the_host_and_never_asks_for_a_compiled_optimiser() -> None:
    train = Train(zero_stage=3, offload_optimizer=True, offload_parameters=True)
    config = deepspeed_config(train, world_size=1, micro_steps=1)
    assert config["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "cpu"},
    }
    assert config["zero_force_ds_cpu_optimizer"] is False


def test_a_disk_takes_the_place_of_the_host_for_what_is_offloaded() -> None:
    train = Train(zero_stage=3, offload_optimizer=True, nvme_path="/nvme/states")
    zero = deepspeed_config(train, world_size=1, micro_steps=1)["zero_optimization"]
    assert zero == {"stage": 3, "offload_optimizer": {"device": "nvme", "nvme_path": "/nvme/states"}}


def test_fp16_scales_the_loss_by_what_the_gradients_allow() -> None:
    config = deepspeed_config(Train(precision="fp16"), world_size=2, micro_steps=1)
    assert config["fp16"] == {"enabled": True, "loss_scale": 0} and not config["bf16"]["enabled"]
    assert not deepspeed_config(Train(), world_size=2, micro_steps=1)["fp16"]["enabled"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_sums_gradients_in_fp32_wherever_deepspeed_can(precision: str) -> None:
    for stage in (1, 2, 3):
        config = deepspeed_config(Train(zero_stage=stage, precision=precision), world_size=2, micro_steps=1)
        assert config[precision]["enabled"]
        assert config["data_types"] == {"grad_accum_dtype": "fp32"}
    assert "data_types" not in deepspeed_config(Train(zero_stage=0, precision="bf16"), world_size=2, micro_steps=1)
