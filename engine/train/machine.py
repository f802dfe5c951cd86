"""What a machine must be able to do for a spec, asked before any weight is loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from engine.errors import InvalidInput
from engine.job.runtime import first_line
from engine.spec.sections import Model, Train


def require(model: Model, train: Train) -> None:
    """Check precision, attention and offload against this machine.

    Raises:
        InvalidInput: with one sentence on what it cannot do.
    """
    from deepspeed.accelerator import get_accelerator

    device = get_accelerator()
    if train.precision == "fp16" and not device.is_fp16_supported():
        raise InvalidInput(
            f"train.precision is fp16, in which DeepSpeed does not compute on this {_named(device.device_name())}.",
            hint="Set train.precision to bf16 or fp32.",
        )
    if model.attention == "flash":
        _require_flash(train, device.device_name())
    if train.nvme_path is not None:
        _require_disk(Path(train.nvme_path))


def _named(device: str) -> str:
    return "CPU" if device == "cpu" else "GPU"


def _require_flash(train: Train, device: str) -> None:
    hint = "Set model.attention to sdpa or auto."
    if device == "cpu":
        raise InvalidInput("model.attention is flash, which needs a GPU.", hint=hint)
    if train.precision == "fp32":
        raise InvalidInput("model.attention is flash, which computes in bf16 or fp16 only, not in fp32.", hint=hint)
    if importlib.util.find_spec("flash_attn") is None:
        raise InvalidInput(
            "model.attention is flash, and the package flash-attn is not installed.",
            hint="Install it where the run computes (pip install flash-attn), or set model.attention to sdpa or auto.",
        )


def _require_disk(folder: Path) -> None:
    """Have the folder, and DeepSpeed's operator for asynchronous files, which is compiled when first used."""
    from deepspeed.ops.op_builder import AsyncIOBuilder

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"train.nvme_path cannot be made: {error.strerror}.", where=str(folder)) from error
    builder = AsyncIOBuilder()
    hint = "Install libaio-dev (libaio-devel), g++ and ninja where the run computes, or set train.nvme_path to null."
    if not builder.is_compatible(verbose=False):
        raise InvalidInput("train.nvme_path needs libaio, which DeepSpeed cannot find.", hint=hint)
    try:
        builder.load(verbose=False)
    except Exception as error:
        raise InvalidInput(
            f"train.nvme_path needs an operator of DeepSpeed that cannot be compiled: {first_line(error)}", hint=hint
        ) from error
