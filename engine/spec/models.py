"""The typed specs of every kind. A field's `description` is what `engine new` prints beside it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator


class Kind(StrEnum):
    """The kinds of experiment."""

    SFT = "sft"
    RM = "rm"
    PPO = "ppo"
    RAG = "rag"
    EVAL = "eval"


# Kinds that validate already and cannot be launched yet.
KINDS_TO_COME = frozenset({Kind.RM, Kind.PPO, Kind.RAG, Kind.EVAL})

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A part of a spec: no unknown keys, nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Architecture(Section):
    """The shape of a model that is made from scratch (a Llama)."""

    hidden_size: PositiveInt = Field(128, description="width of the residual stream")
    layers: PositiveInt = Field(3, description="number of transformer blocks")
    heads: PositiveInt = Field(4, description="attention heads; divides hidden_size")
    intermediate_size: PositiveInt = Field(352, description="width of the gated MLP")
    max_positions: PositiveInt = Field(512, description="longest sequence, tokens")
    tie_embeddings: bool = Field(True, description="share input and output embeddings")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of twice heads ({self.heads})")
        return self


class Tokenizer(Section):
    """The tokenizer of a model made from scratch, trained on the corpus."""

    kind: Literal["word", "bpe"] = Field("word", description="word: one token a word; bpe: byte-level pieces")
    corpus: tuple[str, ...] = Field((), description="text or JSONL files it is trained on; empty: the training data")
    vocabulary_size: PositiveInt = Field(8192, description="largest number of tokens")


class Model(Section):
    """Where the weights come from: a folder, or a shape to start from scratch."""

    path: str | None = Field(None, description="folder of a Hugging Face causal language model")
    architecture: Architecture | None = Field(None, description="instead of path: a model from scratch")
    tokenizer: Tokenizer | None = Field(None, description="instead of path: a tokenizer trained on the corpus")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.architecture is None):
            raise ValueError("give either model.path or model.architecture, one of the two")
        if self.path is not None and self.tokenizer is not None:
            raise ValueError("model.tokenizer goes with model.architecture; a folder brings its own tokenizer")
        return self


class Data(Section):
    """Training data: JSONL, CSV or Parquet files, or `datasets` folders."""

    train: str = Field(description="file or folder to train on")
    eval: str | None = Field(None, description="file or folder to evaluate on during training")
    format: Literal["auto", "chat", "prompt_response", "text", "truth_judged"] = Field(
        "auto",
        description="chat: messages; prompt_response; text; truth_judged: TruthfulQA judge rows, true answers only",
    )
    eval_fraction: Fraction = Field(0.0, description="without eval: share of the questions held out for evaluation")
    prompt_key: str = Field("prompt", description="column of the prompt (format prompt_response)")
    response_key: str = Field("response", description="column of the response (format prompt_response)")
    text_key: str = Field("text", description="column of the text (format text)")
    messages_key: str = Field("messages", description="column of the messages (format chat)")
    template: str | None = Field(
        None, description="chat template file (Jinja); null: the tokenizer's own, or the plain one"
    )
    max_length: PositiveInt = Field(512, description="longest example, tokens; longer ones are truncated, without EOS")
    packing: bool = Field(False, description="put several examples into one row, without attention between them")
    loss_on: Literal["assistant", "all"] = Field(
        "assistant", description="tokens that carry loss: answers only, or all"
    )
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class Schedule(Section):
    """The learning rate over the steps."""

    kind: Literal["constant", "linear", "cosine"] = Field("cosine", description="shape after the warm-up")
    warmup_steps: Count = Field(0, description="steps of linear warm-up from 0")
    final_fraction: Fraction = Field(0.1, description="share of lr left at the last step")


class Optimizer(Section):
    """AdamW."""

    beta1: Fraction = Field(0.9, description="decay of the first moment")
    beta2: Fraction = Field(0.95, description="decay of the second moment")
    eps: PositiveFloat = Field(1e-8, description="added to the denominator")
    weight_decay: NonNegative = Field(0.0, description="decoupled weight decay; none on norms and biases")


class Train(Section):
    """How the trainer runs."""

    steps: PositiveInt | None = Field(None, description="optimiser steps; null: epochs counts")
    epochs: PositiveFloat = Field(1.0, description="passes over the data, when steps is null")
    batch_size: PositiveInt = Field(64, description="examples (packed rows) per optimiser step, over all ranks")
    micro_batch_size: PositiveInt = Field(
        8, description="most examples per rank and forward pass; the batch need not divide evenly into it"
    )
    lr: PositiveFloat = Field(2e-5, description="peak learning rate")
    schedule: Schedule = Field(default_factory=Schedule, description="learning rate over the steps")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="AdamW")
    clip: NonNegative = Field(1.0, description="largest gradient norm; 0: no clipping")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="arithmetic of the forward and backward pass")
    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="DeepSpeed ZeRO stage")
    offload_optimizer: bool = Field(False, description="keep optimiser states in host memory")
    offload_parameters: bool = Field(False, description="keep parameters in host memory (ZeRO 3)")
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    log_every: PositiveInt = Field(1, description="steps between logged points")
    eval_every: Count = Field(0, description="steps between evaluations; 0: at the end only")
    eval_batches: Count = Field(0, description="micro-batches per evaluation; 0: the whole evaluation set")
    sample_prompts: Count = Field(4, description="evaluation prompts answered at each evaluation and kept as samples")
    sample_tokens: PositiveInt = Field(32, description="longest sampled answer, tokens")
    checkpoint_every: Count = Field(0, description="steps between checkpoints; 0: at the end only")
    keep_checkpoints: PositiveInt = Field(2, description="complete checkpoints that stay")
    timeout_seconds: PositiveInt = Field(600, description="longest wait for another rank before the run fails")

    @model_validator(mode="after")
    def _offload_fits_stage(self) -> Self:
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("train.offload_optimizer needs zero_stage 1, 2 or 3")
        if self.offload_parameters and self.zero_stage != 3:
            raise ValueError("train.offload_parameters needs zero_stage 3")
        return self


class Placement(Section):
    """How much of the hostfile a run takes."""

    nodes: PositiveInt | None = Field(None, description="nodes; null: all of the hostfile")
    slots: PositiveInt | None = Field(None, description="slots a node; null: all of the node")
    threads: PositiveInt | None = Field(None, description="CPU threads a rank; null: cores divided by slots")


class Spec(Section):
    """What every kind has."""

    kind: Kind
    name: str | None = Field(
        None, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the experiment"
    )
    note: str | None = Field(None, description="a line for people")
    seed: Count = Field(0, description="seed of weights, data order and sampling")
    placement: Placement = Field(default_factory=Placement, description="how much of the hostfile it takes")


class SftSpec(Spec):
    """Supervised fine-tuning, or a plain language-model objective on text."""

    kind: Literal[Kind.SFT] = Kind.SFT
    model: Model = Field(description="where the weights come from")
    data: Data = Field(description="what it trains on")
    train: Train = Field(default_factory=Train, description="how the trainer runs")


class PreferenceData(Section):
    """Preference pairs: chosen and rejected answers to a prompt."""

    train: str = Field(description="file or folder of preference pairs")
    eval: str | None = Field(None, description="file or folder of held-out pairs")
    max_length: PositiveInt = Field(512, description="longest prompt and answer, tokens")
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class RmSpec(Spec):
    """A reward model."""

    kind: Literal[Kind.RM] = Kind.RM
    model: Model = Field(description="backbone, usually an SFT model")
    data: PreferenceData = Field(description="preference pairs")
    train: Train = Field(default_factory=Train, description="how the trainer runs")
    margin: NonNegative = Field(0.0, description="margin of the pairwise loss")
    centering: NonNegative = Field(0.0, description="weight of the centering term c·mean((r_c+r_r)²)")


class PromptData(Section):
    """Prompts that the policy answers."""

    train: str = Field(description="file or folder of prompts")
    eval: str | None = Field(None, description="file or folder of held-out prompts")
    max_prompt_length: PositiveInt = Field(256, description="longest prompt, tokens")
    max_response_length: PositiveInt = Field(256, description="longest response, tokens")
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class Ppo(Section):
    """The constants of PPO."""

    kl_coef: NonNegative = Field(0.02, description="weight of the KL to the reference")
    kl_target: PositiveFloat | None = Field(None, description="nats per sequence; null: kl_coef stays fixed")
    clip_range: PositiveFloat = Field(0.2, description="clip of the probability ratio")
    value_clip_range: PositiveFloat = Field(0.2, description="clip of the value")
    gamma: Fraction = Field(1.0, description="discount")
    lam: Fraction = Field(0.95, description="lambda of GAE")
    inner_epochs: PositiveInt = Field(1, description="passes over each rollout")
    temperature: PositiveFloat = Field(1.0, description="sampling temperature, also of all log-probabilities")


class PpoSpec(Spec):
    """Proximal policy optimisation against a reward."""

    kind: Literal[Kind.PPO] = Kind.PPO
    model: Model = Field(description="the policy's start, usually an SFT model")
    reward_model: Model = Field(description="the reward model")
    data: PromptData = Field(description="prompts")
    ppo: Ppo = Field(default_factory=Ppo, description="the constants of PPO")
    train: Train = Field(default_factory=Train, description="how the trainer runs")


class RagSpec(Spec):
    """A retrieval index."""

    kind: Literal[Kind.RAG] = Kind.RAG
    corpus: str = Field(description="file or folder of documents")
    embedder: str = Field(description="folder of a sentence-transformers model")
    chunk_tokens: PositiveInt = Field(200, description="tokens a chunk")
    chunk_overlap: Count = Field(40, description="tokens that neighbouring chunks share")
    index: str = Field("auto", description="auto, or a faiss factory string")


class EvalSpec(Spec):
    """A measurement of hallucination."""

    kind: Literal[Kind.EVAL] = Kind.EVAL
    model: Model = Field(description="the model that answers")
    questions: str = Field(description="file of questions with accepted answers")
    rag_index: str | None = Field(None, description="retrieval index; null: closed book")
    max_response_length: PositiveInt = Field(64, description="longest answer, tokens")


AnySpec = SftSpec | RmSpec | PpoSpec | RagSpec | EvalSpec

SPEC_TYPES: dict[Kind, type[AnySpec]] = {
    Kind.SFT: SftSpec,
    Kind.RM: RmSpec,
    Kind.PPO: PpoSpec,
    Kind.RAG: RagSpec,
    Kind.EVAL: EvalSpec,
}
