"""What a machine cannot do is told before the model is loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.spec.sections import Model, Train
from engine.train import machine
from tests.train.conftest import MakeSpec
from tests.train.facts import series
from tests.train.forkserver import ForkServer

MODEL = Model(path="models/base")


class Gpu:
    """An accelerator of DeepSpeed that is not here."""

    def device_name(self) -> str:
        return "cuda"

    def is_fp16_supported(self) -> bool:
        return True


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import deepspeed.accelerator

    monkeypatch.setattr(deepspeed.accelerator, "get_accelerator", Gpu)


def test_what_every_machine_can_do_passes() -> None:
    for precision in ("bf16", "fp32"):
        for attention in ("auto", "sdpa", "eager"):
            machine.require(MODEL.model_copy(update={"attention": attention}), Train(precision=precision))


def test_fp16_runs_where_deepspeed_computes_in_it_and_is_refused_in_one_sentence_elsewhere(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    from deepspeed.accelerator import get_accelerator

    job = server.start(make_spec(precision="fp16", zero_stage=1), tmp_path / "run", world=1)
    if get_accelerator().is_fp16_supported():
        assert job.wait() == [0], job.log()
    else:
        assert job.wait() == [2]
        told = "error: train.precision is fp16, in which DeepSpeed does not compute on this CPU."
        assert job.log().splitlines()[-1] == f"{told} Set train.precision to bf16 or fp32."


def test_flash_attention_needs_a_gpu_half_precision_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    flash = MODEL.model_copy(update={"attention": "flash"})

    def told(train: Train) -> str:
        with pytest.raises(InvalidInput) as caught:
            machine.require(flash, train)
        return caught.value.message

    assert told(Train()) == "model.attention is flash, which needs a GPU."
    on_a_gpu(monkeypatch)
    assert "not in fp32" in told(Train(precision="fp32"))
    if importlib.util.find_spec("flash_attn") is None:
        assert told(Train()) == "model.attention is flash, and the package flash-attn is not installed."


def test_a_disk_needs_a_folder_and_an_operator_that_can_be_compiled(tmp_path: Path) -> None:
    from deepspeed.ops.op_builder import AsyncIOBuilder

    (tmp_path / "file").touch()
    places: dict[str, Any] = {"zero_stage": 3, "offload_optimizer": True}
    with pytest.raises(InvalidInput, match=r"train\.nvme_path cannot be made: Not a directory"):
        machine.require(MODEL, Train(nvme_path=str(tmp_path / "file/states"), **places))
    if not AsyncIOBuilder().is_compatible(verbose=False):
        with pytest.raises(InvalidInput, match="needs libaio, which DeepSpeed cannot find") as caught:
            machine.require(MODEL, Train(nvme_path=str(tmp_path / "states"), **places))
        assert caught.value.hint is not None and "libaio-dev" in caught.value.hint
        assert (tmp_path / "states").is_dir()


def test_the_code_for_attention_is_chosen_and_changes_no_number(
    server: ForkServer, make_spec: MakeSpec, causal: Path, tmp_path: Path
) -> None:
    from engine.generate.models import load_tokenizer
    from engine.train.models import build_model

    runs = {}
    for name in ("auto", "sdpa", "eager"):
        model = {"path": str(causal), "attention": name}
        network: Any = build_model(
            Model(**model), load_tokenizer(causal), Train(precision="fp32"), seed=0, zero_config={}
        )
        assert network.config._attn_implementation == ("eager" if name == "eager" else "sdpa")
        job = server.start(make_spec(model=model), tmp_path / name, world=1)
        assert job.wait() == [0], job.log()
        runs[name] = job.run_dir
    for name in ("sdpa", "eager"):
        losses = [series(runs[other], "loss") for other in ("auto", name)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
