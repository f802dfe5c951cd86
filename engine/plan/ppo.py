"""The plan of PPO: policy, critic, reference and reward models, through the phases of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.plan.activations import Load
from engine.plan.batch import BatchPlan, RolloutPlan, plan_episodes, plan_micro_batches
from engine.plan.generation import Decoding
from engine.plan.memory import Role
from engine.plan.networks import Network, Sharding
from engine.plan.place import Place
from engine.plan.run import Findings, RunPlan, batch_warnings, plan_roles, position_warnings
from engine.plan.shape import ModelShape, with_score_head
from engine.spec.models import PpoSpec
from engine.spec.sections import Lora

# DeepSpeed is told of more than one forward pass a step, so that it adds gradients up (engine/train/ppo/networks.py).
_MICRO_STEPS = 2


@dataclass(frozen=True, slots=True)
class PpoShapes:
    """The models that a spec names; none of them has its score head yet."""

    policy: ModelShape
    critic: ModelShape | None  # None: the estimator needs none
    reference: ModelShape | None  # None: the policy without its adapters
    rewards: Mapping[str, ModelShape]  # by term, those of kind model
    adapters: Mapping[str, Lora]  # of those that are adapters over the policy's base


def has_reference(spec: PpoSpec) -> bool:
    """Whether the reference is a network of its own; else it is the policy without its adapters."""
    return spec.model.lora is None or (spec.reference.path is not None and not spec.critic.share_base)


def plan_ppo(
    spec: PpoSpec,
    shapes: PpoShapes,
    place: Place,
    *,
    rows: int | None,
    tokens_per_second: float | None = None,
    found: Findings,
) -> RunPlan:
    """Return the plan of a run.

    Args:
        spec: what is to run.
        shapes: its models.
        place: where it runs, with the placement of the spec applied.
        rows: prompts of the training data; None: unknown.
        tokens_per_second: of all ranks, measured; None: unknown.
        found: what its models and tokenizers show.
    """
    train, data = spec.train, spec.data
    batch, rollout = plan_episodes(
        train,
        spec.rollout,
        ranks=place.ranks,
        length=data.max_prompt_length + data.max_response_length,
        rows=rows,
        inner_epochs=spec.ppo.inner_epochs,
    )
    return plan_roles(
        list(_roles(spec, shapes, place, batch, rollout)),
        train,
        place,
        micro_steps=_MICRO_STEPS,
        batch=batch,
        rollout=rollout,
        room=("rollout.batch_size", "train.micro_batch_size", "data.max_response_length"),
        tokens_per_second=tokens_per_second,
        found=found
        + Findings(
            tuple(_errors(spec, shapes, rollout)),
            tuple(_warnings(spec, shapes, batch, rollout, place)),
        ),
    )


def _roles(spec: PpoSpec, shapes: PpoShapes, place: Place, batch: BatchPlan, rollout: RolloutPlan) -> Iterator[Role]:
    train, data, nvme = spec.train, spec.data, spec.train.nvme_path is not None
    eager = spec.model.attention == "eager"
    # Rows of one micro-batch have prompts of different lengths: logits are made where any of them has a response.
    predicting = batch.micro_batch * data.max_response_length
    episodes = Load(batch.micro_batch, batch.length, predicting, eager=eager)
    # Without gradients, twice as many go through at once.
    scored = min(2 * train.micro_batch_size, rollout.episodes_per_rank)
    scores = Load(scored, batch.length, scored * data.max_response_length, eager=eager)
    trains = [episodes]
    if spec.ptx is not None:
        own = -(-spec.ptx.batch_size // place.ranks)
        _, rows = plan_micro_batches(train, own, width=spec.ptx.data.max_length)
        trains.append(Load(rows, spec.ptx.data.max_length, packing=spec.ptx.data.packing, eager=eager))
    yield Role(
        "policy",
        Network(shapes.policy, spec.model.lora),
        Sharding.of(train),
        trains=tuple(trains),
        scores=scores,
        writes=Decoding(rollout.at_once, data.max_prompt_length, data.max_response_length),
        averaged=spec.ppo.ema_decay is not None,
    )
    if shapes.critic is not None:
        critic = spec.critic
        stage = train.zero_stage if critic.zero_stage is None else critic.zero_stage
        sharding = Sharding(stage, critic.offload_optimizer, critic.offload_parameters, nvme)
        lora = critic.lora or (spec.model.lora if critic.share_base else None)
        yield Role(
            "critic",
            Network(with_score_head(shapes.critic), lora, shares_base=critic.share_base),
            Sharding.of(train) if critic.share_base else sharding,
            section="critic",
            follows=critic.zero_stage is None,
            trains=(episodes,),
            scores=scores,
        )
    if shapes.reference is not None:
        waits = Sharding(spec.reference.zero_stage, offload_parameters=spec.reference.offload, nvme=nvme)
        yield Role("reference", Network(shapes.reference, frozen=True), waits, section="reference", scores=scores)
    for name, shape in shapes.rewards.items():
        term, adapters = spec.rewards[name], shapes.adapters.get(name)
        spread = Sharding(term.zero_stage, offload_parameters=term.offload, nvme=nvme)
        if adapters is not None:
            spread = Sharding.of(train)
        network = Network(with_score_head(shape), adapters, frozen=True, shares_base=adapters is not None)
        yield Role(f"rewards.{name}", network, spread, section=f"rewards.{name}", scores=scores)


def _errors(spec: PpoSpec, shapes: PpoShapes, rollout: RolloutPlan) -> Iterator[str]:
    train = spec.train
    if train.batch_size > rollout.episodes:
        yield (
            f"train.batch_size is {train.batch_size} episodes an optimiser step, and a rollout has {rollout.episodes} "
            f"({rollout.prompts} prompts × {spec.rollout.samples_per_prompt}): lower it, or raise rollout.prompts."
        )
    positions = shapes.policy.positions
    if positions is not None and spec.data.max_response_length >= positions:
        yield (
            f"data.max_response_length is {spec.data.max_response_length}, and the policy has {positions} positions "
            f"for prompt and response together: lower it."
        )


def _warnings(spec: PpoSpec, shapes: PpoShapes, batch: BatchPlan, rollout: RolloutPlan, place: Place) -> Iterator[str]:
    keys = "data.max_prompt_length and data.max_response_length together"
    yield from position_warnings(shapes.policy, keys, batch.length)
    yield from batch_warnings(batch, spec.train, "episodes")
    if rollout.idle_ranks:
        yield (
            f"{rollout.idle_ranks} of {place.ranks} ranks write nothing: a rollout has {rollout.episodes} episodes. "
            f"Raise rollout.prompts."
        )
    elif rollout.episodes % place.ranks:
        yield (
            f"{rollout.episodes} episodes of a rollout do not divide by {place.ranks} ranks: some wait for others, "
            f"which have one more."
        )
    if rollout.last_batch != batch.batch_size:
        yield (
            f"{rollout.episodes} episodes of a rollout do not divide by train.batch_size ({batch.batch_size}): the "
            f"last optimiser step of each pass has {rollout.last_batch}."
        )
