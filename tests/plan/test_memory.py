"""What more hardware, more partitioning and smaller batches do to a plan, for any model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.plan.activations import Load
from engine.plan.advice import Advice, advise
from engine.plan.memory import MemoryPlan, Role, plan_memory
from engine.plan.networks import Network, Sharding
from engine.plan.place import Place
from engine.plan.shape import ModelShape, shape_of_config
from engine.plan.sizes import in_words, parse_size
from engine.spec.sections import Lora, Train

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


loads = st.builds(Load, rows=st.integers(1, 64), length=st.integers(1, 8192), packing=st.booleans())
networks = st.builds(Network, shapes(), st.none() | st.builds(Lora, rank=st.integers(1, 64)))


def role_of(network: Network, train: Train, load: Load) -> Role:
    return Role("model", network, Sharding.of(train), trains=(load,))


def planned(network: Network, train: Train, load: Load, where: Place) -> MemoryPlan:
    return plan_memory([role_of(network, train, load)], train, where, micro_steps=2)


def advised(network: Network, train: Train, load: Load, where: Place) -> Advice | None:
    return advise([role_of(network, train, load)], train, where, micro_steps=2)


def place(nodes: int = 1, slots: int = 8, capacity: int = 80 * GB, *, on_cpu: bool = False) -> Place:
    return Place((slots,) * nodes, capacity, on_cpu)


@given(networks, trainings(), loads, st.tuples(st.integers(2, 64), st.integers(1, 64)), st.booleans())
def test_more_ranks_never_take_more_memory_each(
    network: Network, train: Train, load: Load, ranks: tuple[int, int], on_cpu: bool
) -> None:
    few = planned(network, train, load, place(1, ranks[0], on_cpu=on_cpu))
    many = planned(network, train, load, place(1, sum(ranks), on_cpu=on_cpu))
    assert many.total <= few.total
    amounts = asdict(few.amounts)
    assert few.total == sum(amounts.values()) and min(amounts.values()) >= 0, "the parts add up"


@given(shapes(layers=60), trainings(), loads, st.sampled_from(["bf16", "fp32"]))
def test_a_higher_stage_never_takes_more_of_a_large_model(
    shape: ModelShape, train: Train, load: Load, precision: str
) -> None:
    """DeepSpeed's buffers of fixed size outweigh what partitioning saves of a small one, and so they do here."""
    wide = shape_of_config({**LLAMA_13B, "num_hidden_layers": shape.layers})

    def total(stage: int) -> int:
        variant = Train(zero_stage=stage, precision=precision, gradient_checkpointing=train.gradient_checkpointing)
        return planned(Network(wide), variant, load, place()).total

    assert total(0) >= total(1) >= total(2) >= total(3)


@given(networks, trainings(), loads)
def test_smaller_batches_and_checkpointing_never_take_more(network: Network, train: Train, load: Load) -> None:
    full = planned(network, train, load, place())
    for smaller in (
        Load(max(1, load.rows - 1), load.length, packing=load.packing),
        Load(load.rows, max(1, load.length // 2), packing=load.packing),
        Load(load.rows, load.length, predicting=load.length // 2, packing=load.packing),
        Load(load.rows, load.length),
    ):
        assert planned(network, train, smaller, place()).amounts.activations <= full.amounts.activations
    checkpointed = train.model_copy(update={"gradient_checkpointing": True})
    assert planned(network, checkpointed, load, place()).amounts.activations <= full.amounts.activations


@given(shapes(layers=20), trainings(), st.integers(1, 16))
def test_adapters_take_no_more_gradients_and_states_than_the_whole_model(
    shape: ModelShape, train: Train, rank: int
) -> None:
    load, network = Load(1, 128), Network(shape, Lora(rank=rank))
    whole, adapters = planned(Network(shape), train, load, place()), planned(network, train, load, place())
    assert 0 < network.adapters < shape.parameters
    assert adapters.amounts.gradients <= whole.amounts.gradients
    assert adapters.amounts.optimizer <= whole.amounts.optimizer


@given(networks, trainings(), loads, st.integers(1, 64), st.integers(1, 400))
def test_the_advice_fits_and_nothing_lower_does(
    network: Network, train: Train, load: Load, nodes: int, gigabytes: int
) -> None:
    where = place(nodes, 8, gigabytes * GB)

    def with_settings(**settings: Any) -> MemoryPlan:
        changes = {"offload_optimizer": False, "offload_parameters": False, **settings}
        return planned(network, train.model_copy(update=changes), load, where)

    advice = advised(network, train, load, where)
    sharding = None if advice is None else advice.shardings["model"]
    lower = range(4) if sharding is None or sharding.offload_optimizer else range(sharding.zero_stage)
    assert not any(with_settings(zero_stage=stage).fits for stage in lower)
    if advice is not None and sharding is not None:
        chosen = with_settings(
            zero_stage=sharding.zero_stage,
            offload_optimizer=sharding.offload_optimizer,
            offload_parameters=sharding.offload_parameters,
        )
        assert chosen.fits and chosen.total == advice.total
        assert advice.reasons["model"].endswith(".")


def test_a_13b_model_on_one_gpu_is_what_one_counts_by_hand() -> None:
    shape = shape_of_config(LLAMA_13B)
    plan = planned(Network(shape), Train(zero_stage=2), Load(1, 2048), place(8, 8)).amounts
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
