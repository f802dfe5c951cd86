"""What more hardware, more partitioning and smaller batches do to a plan, for any model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.plan.memory import Load, MemoryPlan, advise, plan_memory
from engine.plan.place import Place
from engine.plan.shape import ModelShape, shape_of_config
from engine.plan.sizes import in_words, parse_size
from engine.spec.sections import Train

LLAMA_13B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "max_position_embeddings": 4096,
}
GB = 10**9


@st.composite
def shapes(draw: st.DrawFn, layers: int = 2) -> ModelShape:
    heads = draw(st.sampled_from([4, 8, 32]))
    return shape_of_config(
        {
            "model_type": draw(st.sampled_from(["llama", "gpt_neox", "mistral"])),
            "vocab_size": draw(st.integers(100, 150_000)),
            "hidden_size": heads * draw(st.sampled_from([16, 64, 128])),
            "intermediate_size": draw(st.integers(64, 30_000)),
            "num_hidden_layers": draw(st.integers(layers, 100)),
            "num_attention_heads": heads,
            "num_key_value_heads": 4,
        }
    )


@st.composite
def trainings(draw: st.DrawFn) -> Train:
    stage = draw(st.sampled_from([0, 1, 2, 3]))
    return Train(
        zero_stage=stage,
        precision=draw(st.sampled_from(["bf16", "fp32"])),
        gradient_checkpointing=draw(st.booleans()),
        offload_optimizer=stage > 0 and draw(st.booleans()),
        offload_parameters=stage == 3 and draw(st.booleans()),
    )


loads = st.builds(
    Load,
    rows=st.integers(1, 64),
    length=st.integers(1, 8192),
    micro_steps=st.integers(1, 8),
    packing=st.booleans(),
)


def place(nodes: int = 1, slots: int = 8, capacity: int = 80 * GB, *, on_cpu: bool = False) -> Place:
    return Place((slots,) * nodes, capacity, on_cpu)


@given(shapes(), trainings(), loads, st.tuples(st.integers(2, 64), st.integers(1, 64)), st.booleans())
def test_more_ranks_never_take_more_memory_each(
    shape: ModelShape, train: Train, load: Load, ranks: tuple[int, int], on_cpu: bool
) -> None:
    few = plan_memory(shape, train, load, place(1, ranks[0], on_cpu=on_cpu))
    many = plan_memory(shape, train, load, place(1, sum(ranks), on_cpu=on_cpu))
    assert many.total <= few.total
    assert few.total == sum((few.weights, few.gradients, few.optimizer, few.activations, few.generation, few.other)), (
        "the parts add up"
    )
    assert min(few.weights, few.gradients, few.optimizer, few.activations, few.other) >= 0


@given(shapes(layers=60), trainings(), loads, st.sampled_from(["bf16", "fp32"]))
def test_a_higher_stage_never_takes_more_of_a_large_model(
    shape: ModelShape, train: Train, load: Load, precision: str
) -> None:
    """DeepSpeed's buffers of fixed size outweigh what partitioning saves of a small one, and so they do here."""
    wide = shape_of_config({**LLAMA_13B, "num_hidden_layers": shape.layers})

    def total(stage: int) -> int:
        variant = Train(zero_stage=stage, precision=precision, gradient_checkpointing=train.gradient_checkpointing)
        return plan_memory(wide, variant, load, place()).total

    assert total(0) >= total(1) >= total(2) >= total(3)


@given(shapes(), trainings(), loads)
def test_smaller_batches_checkpointing_and_offload_never_take_more(shape: ModelShape, train: Train, load: Load) -> None:
    full = plan_memory(shape, train, load, place())
    for smaller in (
        Load(max(1, load.rows - 1), load.length, load.micro_steps, load.packing),
        Load(load.rows, max(1, load.length // 2), load.micro_steps, load.packing),
        Load(load.rows, load.length, load.micro_steps),
    ):
        assert plan_memory(shape, train, smaller, place()).activations <= full.activations
    checkpointed = train.model_copy(update={"gradient_checkpointing": True})
    assert plan_memory(shape, checkpointed, load, place()).activations <= full.activations
    if train.offload_optimizer:
        kept = train.model_copy(update={"offload_optimizer": False, "offload_parameters": False})
        on_gpu = plan_memory(shape, kept, load, place())
        assert full.optimizer == 0 and full.weights <= on_gpu.weights
        assert full.host >= on_gpu.host


@given(shapes(), trainings(), loads, st.integers(1, 64), st.integers(1, 400))
def test_the_advice_fits_and_nothing_lower_does(
    shape: ModelShape, train: Train, load: Load, nodes: int, gigabytes: int
) -> None:
    where = place(nodes, 8, gigabytes * GB)

    def planned(**settings: Any) -> MemoryPlan:
        changes = {"offload_optimizer": False, "offload_parameters": False, **settings}
        return plan_memory(shape, train.model_copy(update=changes), load, where)

    advice = advise(shape, train, load, where)
    lower = range(4) if advice is None or advice.offload_optimizer else range(advice.zero_stage)
    assert not any(planned(zero_stage=stage).fits for stage in lower)
    if advice is not None:
        chosen = planned(
            zero_stage=advice.zero_stage,
            offload_optimizer=advice.offload_optimizer,
            offload_parameters=advice.offload_parameters,
        )
        assert chosen.fits and chosen.total == advice.total
        assert advice.reason.endswith(".")


def test_a_13b_model_on_one_gpu_is_what_one_counts_by_hand() -> None:
    shape = shape_of_config(LLAMA_13B)
    plan = plan_memory(shape, Train(zero_stage=2), Load(1, 2048, 1), place(8, 8))
    assert shape.parameters == 13_015_864_320
    assert plan.weights == 2 * 13_015_864_320
    assert plan.gradients == 4 * 203_372_880
    assert plan.optimizer == 12 * 203_372_880


@pytest.mark.parametrize(
    ("text", "size"),
    [("80GB", 80 * GB), ("80 gb", 80 * GB), ("79.5GiB", 85_362_475_008), ("1000", 1000), ("1.5TB", 1_500 * GB)],
)
def test_amounts_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "80XB", "-1GB", "0", "80GB80", "1e9", "inf", "٣GB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_size(text)


@given(st.integers(0, 10**18))
def test_amounts_are_written_so_that_they_are_read_alike(size: int) -> None:
    text = in_words(size).replace(",", "")
    if size:
        assert parse_size(text) == pytest.approx(size, rel=0.051)
