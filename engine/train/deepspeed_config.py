"""From a spec to the configuration of DeepSpeed. Pure."""

from __future__ import annotations

from typing import Any

from engine.spec.sections import Train


def deepspeed_config(train: Train, *, world_size: int, micro_steps: int) -> dict[str, Any]:
    """Return DeepSpeed's configuration.

    Batch sizes only have to agree with each other: the loop cuts the batches itself and scales the loss by the number
    of loss tokens of the whole optimiser step. The optimiser is torch's own AdamW, which needs no compiler.
    """
    zero: dict[str, Any] = {"stage": train.zero_stage}
    place = {"device": "cpu"} if train.nvme_path is None else {"device": "nvme", "nvme_path": train.nvme_path}
    if train.offload_optimizer:
        zero["offload_optimizer"] = dict(place)
    if train.offload_parameters:
        zero["offload_param"] = dict(place)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": micro_steps,
        "train_batch_size": world_size * micro_steps,
        "gradient_clipping": train.clip,
        "bf16": {"enabled": train.precision == "bf16"},
        "fp16": {"enabled": train.precision == "fp16", "loss_scale": 0},  # 0: as large as the gradients allow
        "zero_optimization": zero,
        # Offload with torch's AdamW; DeepSpeed's own would be compiled when first used.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }
    if train.precision != "fp32" and train.zero_stage > 0:
        # bf16 holds 8 bits, fp16 11: sums over micro-batches lose what is small. Without ZeRO, DeepSpeed has no choice.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config
