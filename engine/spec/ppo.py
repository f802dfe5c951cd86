"""The sections of PPO: prompts, the terms of the reward, the other networks, and the constants."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.spec.fields import (
    NUMBER,
    Count,
    Decay,
    Fraction,
    InputPath,
    NonNegative,
    Number,
    Positive,
    PositiveInt,
    Section,
)
from engine.spec.retrieval import Search
from engine.spec.sections import Data, Lora


class Retrieval(Search):
    """Passages of a retrieval index, which the policy reads before the question."""

    style: Literal["plain", "numbered"] = Field(
        "plain", description="plain: the passages, then the question; numbered: as sources that answers cite"
    )
    share: Fraction = Field(
        1.0, description="share of the prompts that carry passages, the others are closed book; held-out ones are both"
    )


class PromptData(Section):
    """Prompts that the policy answers, with what is known about right answers."""

    train: InputPath = Field(description="file or folder of prompts", examples=["data/prompts.jsonl"])
    eval: InputPath | None = Field(None, description="file or folder of held-out prompts")
    prompt_key: str = Field("prompt", description="column of the prompt; chat messages are read as well")
    answers_key: str = Field("answers", description="column of the accepted answers, where a row has it")
    evidence_key: str | None = Field(
        "evidence", description="column of a true passage to judge by, which the policy does not see; null: none"
    )
    group_key: str = Field("group", description="column that groups the evaluation, where a row has it")
    retrieval: Retrieval | None = Field(None, description="passages to answer from; null: all prompts are closed book")
    abstentions: tuple[str, ...] = Field(
        ("unknown", "i don't know", "i do not know", "i am not sure", "i'm not sure"),
        description="an answer that begins with one of these abstains",
    )
    template: InputPath | None = Field(
        None, description="chat template file (Jinja); null: the tokenizer's own, or the plain one"
    )
    max_prompt_length: PositiveInt = Field(
        256, description="longest prompt with its passages, tokens; longer ones are left out"
    )
    max_response_length: PositiveInt = Field(256, description="longest response, tokens")
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class RewardTerm(Section):
    """One term of the reward: normalised, clipped, weighted, logged as reward/NAME."""

    kind: Literal["model", "exact_match", "support", "abstention", "length", "regex", "function"] = Field(
        "model",
        description="model; exact_match: with the accepted answers; support: by the passages; abstention; length; "
        "regex; function: your own",
    )
    weight: Number = Field(1.0, description="factor of the term in the score")
    normalise: Literal["frozen", "running", "none"] = Field(
        "frozen",
        description="by mean and deviation: frozen: those in the reward model's folder; running: of all answers so far",
    )
    clip: Positive | None = Field(None, description="largest absolute value after normalising; null: none")
    path: InputPath | None = Field(
        None, description="model: folder of a reward model; support by nli: folder of the model that judges"
    )
    evidence: bool = Field(
        True, description="model: it reads the true passage of a prompt, or else those that the policy reads"
    )
    zero_stage: Annotated[Literal[0, 3], NUMBER] = Field(0, description="model: 3 shards its weights over the ranks")
    offload: bool = Field(False, description="model: keep its weights in host memory between uses")
    correct: Number = Field(1.0, description="exact_match: value of an accepted answer")
    abstained: Number = Field(0.0, description="exact_match: value of an abstention")
    wrong: Number = Field(-1.0, description="exact_match: value of any other answer")
    scorer: Literal["lexical", "exact", "nli"] = Field(
        "lexical", description="support: what judges: lexical: common words; exact: the very words; nli: a model"
    )
    target: PositiveInt = Field(64, description="length: tokens; each one more costs 1 / target")
    pattern: str | None = Field(None, description="regex: 1 where it is found in the answer, 0 elsewhere")
    function: str | None = Field(
        None, description="function: MODULE:NAME, or NAME in file; answers in, one number for each out"
    )
    file: InputPath | None = Field(None, description="function: the Python file that has it; null: an installed module")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needed = {"model": "path", "regex": "pattern", "function": "function"}.get(self.kind)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"is of kind {self.kind} and needs {needed}")
        if self.kind == "support" and self.scorer == "nli" and self.path is None:
            raise ValueError("has scorer nli and needs path")
        return self


class Reference(Section):
    """The policy that the divergence is measured from."""

    path: InputPath | None = Field(None, description="folder of a causal language model; null: the policy's start")
    zero_stage: Annotated[Literal[0, 3], NUMBER] = Field(0, description="3 shards its weights over the ranks")
    offload: bool = Field(False, description="keep its weights in host memory between uses")


class Critic(Section):
    """The network that predicts the return at each token; only the estimator gae has one."""

    path: InputPath | None = Field(None, description="folder of a causal or reward model; null: the policy's start")
    head: Literal["zero", "kept"] = Field("zero", description="start of the value head: zeros, or a reward model's own")
    share_base: bool = Field(
        False, description="one base under the adapters of policy, critic and reward (needs model.lora)"
    )
    lora: Lora | None = Field(None, description="train adapters only; null: all weights")
    lr: Positive | None = Field(None, description="peak learning rate; null: that of the policy")
    warmup_steps: Count = Field(0, description="first steps, in which only the critic learns")
    clip_range: Positive | None = Field(0.2, description="clip of the value, units of the reward; null: none")
    zero_stage: Annotated[Literal[0, 1, 2, 3], NUMBER] | None = Field(
        None, description="DeepSpeed ZeRO stage; null: that of the policy"
    )
    offload_optimizer: bool = Field(False, description="keep optimiser states in host memory")
    offload_parameters: bool = Field(False, description="keep parameters in host memory (ZeRO 3)")


class Rollout(Section):
    """How answers are sampled: from the whole distribution, exactly as they are scored."""

    prompts: PositiveInt = Field(128, description="prompts a step, over all ranks")
    samples_per_prompt: PositiveInt = Field(1, description="answers to each prompt; rloo and grpo compare them")
    batch_size: PositiveInt = Field(64, description="most sequences that a rank decodes at once")
    temperature: Positive = Field(1.0, description="sampling temperature, also of all log-probabilities")


class Ptx(Section):
    """The pretraining term against forgetting (Ouyang et al. 2022)."""

    data: Data = Field(description="what it trains on, as in supervised fine-tuning")
    coef: Positive = Field(27.8, description="weight of the loss on this data, nats/token")
    batch_size: PositiveInt = Field(64, description="examples per optimiser step, over all ranks")


class Ppo(Section):
    """The constants of PPO."""

    estimator: Literal["gae", "rloo", "grpo"] = Field(
        "gae", description="advantages: gae: by a critic; rloo, grpo: by the other answers to the prompt"
    )
    kl_coef: NonNegative = Field(0.02, description="weight of the KL to the reference, reward per nat")
    kl_target: Positive | None = Field(None, description="nats per sequence; null: kl_coef stays fixed")
    kl_horizon: Positive = Field(10000.0, description="episodes in which kl_coef adapts")
    clip_range: Positive = Field(0.2, description="clip of the probability ratio")
    dual_clip: Annotated[float, Field(gt=1.0), NUMBER] | None = Field(
        None, description="bound of the loss of bad answers, in advantages; null: none"
    )
    gamma: Fraction = Field(1.0, description="discount")
    lam: Fraction = Field(0.95, description="lambda of GAE")
    whiten: bool = Field(True, description="advantages of mean 0 and deviation 1 over the global batch")
    inner_epochs: PositiveInt = Field(1, description="passes over each rollout")
    early_stop_kl: Positive | None = Field(
        None, description="nats per token from the policy that sampled, above which the inner epochs end; null: never"
    )
    entropy_coef: NonNegative = Field(0.0, description="weight of an entropy bonus, per nat/token")
    truncation: Literal["replace", "subtract", "keep"] = Field(
        "replace", description="score of an answer cut at max_response_length: −penalty, less the penalty, or as it is"
    )
    truncation_penalty: NonNegative = Field(1.0, description="units of the score")
    ema_decay: Decay | None = Field(None, description="also export an average of the policies, .992 say; null: none")
