"""The typed specs of every kind. A new kind needs nothing but its type here.

A field's `description` is what `engine new` prints beside it, the `examples` of a required one are what `engine new`
fills in, and `InputPath` marks what must exist before the launch. What a validator says continues the name of its
section: "has both path and architecture".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError


class Kind(StrEnum):
    """The kinds of experiment."""

    SFT = "sft"
    RM = "rm"
    PPO = "ppo"
    RAG = "rag"
    EVAL = "eval"


# Kinds that validate already and cannot be launched yet.
KINDS_TO_COME = frozenset({Kind.PPO, Kind.RAG, Kind.EVAL})

LARGEST = 2**31 - 1  # of whole numbers: fits every library and the database


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number_type", "true and false are no numbers")
    return value


def _visit_path(value: str, info: ValidationInfo) -> str:
    """Hand the path to the visitor of `engine.spec.resolve`, which may return another one."""
    if not value or "\0" in value:
        raise PydanticCustomError("path_type", "no path")
    return info.context(value) if info.context is not None else value


_NUMBER = BeforeValidator(_no_truth_value)
_ONE_ZERO = AfterValidator(lambda value: value + 0.0)  # -0.0 is 0.0: equal specs print and hash alike
Fraction = Annotated[float, Field(ge=0.0, le=1.0), _NUMBER, _ONE_ZERO]
Decay = Annotated[float, Field(ge=0.0, lt=1.0), _NUMBER, _ONE_ZERO]
NonNegative = Annotated[float, Field(ge=0.0), _NUMBER, _ONE_ZERO]
Positive = Annotated[float, Field(gt=0.0), _NUMBER]
Count = Annotated[int, Field(ge=0, le=LARGEST), _NUMBER]
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST), _NUMBER]
InputPath = Annotated[str, AfterValidator(_visit_path), Field(json_schema_extra={"allowed": "a path"})]


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
            raise ValueError(f"has hidden_size {self.hidden_size}, which is no multiple of twice heads ({self.heads})")
        return self


class Tokenizer(Section):
    """The tokenizer of a model made from scratch, trained on the corpus."""

    kind: Literal["word", "bpe"] = Field("word", description="word: one token a word; bpe: byte-level pieces")
    corpus: tuple[InputPath, ...] = Field(
        (), description="text or JSONL files it is trained on; empty: the training data"
    )
    vocabulary_size: PositiveInt = Field(8192, description="largest number of tokens")


class Model(Section):
    """Where the weights come from: a folder, or a shape to start from scratch."""

    path: InputPath | None = Field(None, description="folder of a Hugging Face causal language model")
    architecture: Architecture | None = Field(None, description="instead of path: a model from scratch")
    tokenizer: Tokenizer | None = Field(None, description="instead of path: a tokenizer trained on the corpus")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is None and self.architecture is None:
            raise ValueError("needs either path or architecture")
        if self.path is not None and self.architecture is not None:
            raise ValueError("has both path and architecture; set one of the two to null")
        if self.path is not None and self.tokenizer is not None:
            raise ValueError("has path and tokenizer; a folder brings its own tokenizer, so set tokenizer to null")
        return self


class Data(Section):
    """Training data: JSONL, CSV or Parquet files, or `datasets` folders."""

    train: InputPath = Field(description="file or folder to train on", examples=["data/train.jsonl"])
    eval: InputPath | None = Field(None, description="file or folder to evaluate on during training")
    format: Literal["auto", "chat", "prompt_response", "text", "truth_judged"] = Field(
        "auto",
        description="auto; chat: messages; prompt_response; text; truth_judged: TruthfulQA judge rows, true answers",
    )
    eval_fraction: Fraction = Field(0.0, description="without eval: share of the questions held out for evaluation")
    prompt_key: str = Field("prompt", description="column of the prompt (format prompt_response)")
    response_key: str = Field("response", description="column of the response (format prompt_response)")
    text_key: str = Field("text", description="column of the text (format text)")
    messages_key: str = Field("messages", description="column of the messages (format chat)")
    template: InputPath | None = Field(
        None, description="chat template file (Jinja); null: the tokenizer's own, or the plain one"
    )
    max_length: PositiveInt = Field(512, description="longest example, tokens; longer ones are truncated, without EOS")
    packing: bool = Field(False, description="put several examples into one row, without attention between them")
    loss_on: Literal["assistant", "all"] = Field(
        "assistant", description="tokens that carry loss: of the assistant, or all"
    )
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class Schedule(Section):
    """The learning rate over the steps."""

    kind: Literal["constant", "linear", "cosine"] = Field("cosine", description="shape after the warm-up")
    warmup_steps: Count = Field(0, description="steps of linear warm-up from 0")
    final_fraction: Fraction = Field(0.1, description="share of lr left at the last step")


class Optimizer(Section):
    """AdamW."""

    beta1: Decay = Field(0.9, description="decay of the first moment")
    beta2: Decay = Field(0.95, description="decay of the second moment")
    eps: Positive = Field(1e-8, description="added to the denominator")
    weight_decay: NonNegative = Field(0.0, description="decoupled weight decay; none on norms and biases")


class Train(Section):
    """How the trainer runs."""

    steps: PositiveInt | None = Field(None, description="optimiser steps; null: epochs counts")
    epochs: Positive = Field(1.0, description="passes over the data, when steps is null")
    batch_size: PositiveInt = Field(64, description="examples (packed rows, pairs) per optimiser step, over all ranks")
    micro_batch_size: PositiveInt = Field(
        8, description="most examples per rank and forward pass; the batch need not divide evenly into it"
    )
    lr: Positive = Field(2e-5, description="peak learning rate")
    schedule: Schedule = Field(default_factory=Schedule, description="learning rate over the steps")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="AdamW")
    clip: NonNegative = Field(1.0, description="largest gradient norm; 0: no clipping")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="arithmetic of the forward and backward pass")
    zero_stage: Annotated[Literal[0, 1, 2, 3], _NUMBER] = Field(2, description="DeepSpeed ZeRO stage")
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
            raise ValueError("has offload_optimizer, which needs zero_stage 1, 2 or 3")
        if self.offload_parameters and self.zero_stage != 3:
            raise ValueError("has offload_parameters, which needs zero_stage 3")
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
        None,
        max_length=80,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name of the experiment",
        json_schema_extra={"allowed": "at most 80 of A-Z, a-z, 0-9, '.', '_' and '-' (a letter or digit first)"},
    )
    note: str | None = Field(None, description="a line for people")
    seed: Count = Field(0, description="seed of weights, data order and sampling")
    placement: Placement = Field(default_factory=Placement, description="how much of the hostfile it takes")


class SftSpec(Spec):
    """Supervised fine-tuning, or a plain language-model objective on text."""

    kind: Literal[Kind.SFT] = Kind.SFT
    model: Model = Field(description="where the weights come from", examples=[{"path": "models/base"}])
    data: Data = Field(description="what it trains on")
    train: Train = Field(default_factory=Train, description="how the trainer runs")


class PreferenceData(Section):
    """Preference pairs: chosen and rejected answers to a prompt."""

    train: InputPath = Field(description="file or folder of preference pairs", examples=["data/preferences.jsonl"])
    eval: InputPath | None = Field(None, description="file or folder of held-out pairs")
    format: Literal["auto", "pairs", "ranked", "truth_judged", "halueval"] = Field(
        "auto",
        description="auto; pairs; ranked: answers with scores or ranks; truth_judged: TruthfulQA judge rows; halueval",
    )
    eval_fraction: Fraction = Field(0.0, description="without eval: share of the questions held out for evaluation")
    pairs_per_question: Count = Field(0, description="most pairs of one question; 0: all")
    prompt_key: str = Field("prompt", description="column of the prompt (formats pairs and ranked)")
    chosen_key: str = Field("chosen", description="column of the better answer (format pairs)")
    rejected_key: str = Field("rejected", description="column of the worse answer (format pairs)")
    evidence_key: str | None = Field(
        "evidence",
        description="column of a passage to judge by, put before the prompt; null: none",
    )
    group_key: str = Field("group", description="column that groups the evaluation, where a row has it")
    template: InputPath | None = Field(
        None, description="chat template file (Jinja); null: the tokenizer's own, or the plain one"
    )
    max_length: PositiveInt = Field(512, description="longest prompt and answer, tokens; longer pairs are left out")
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class RmSpec(Spec):
    """A reward model."""

    kind: Literal[Kind.RM] = Kind.RM
    model: Model = Field(description="backbone, usually an SFT model", examples=[{"path": "models/sft"}])
    data: PreferenceData = Field(description="preference pairs")
    train: Train = Field(default_factory=Train, description="how the trainer runs")
    margin: NonNegative = Field(0.0, description="by how much the score of the better answer should lead at least")
    centering: NonNegative = Field(0.0, description="weight of the centering term c·mean((r_c+r_r)²)")
    normalise: bool = Field(
        True, description="export mean and deviation of the scores of held-out chosen answers, to score by"
    )


class PromptData(Section):
    """Prompts that the policy answers."""

    train: InputPath = Field(description="file or folder of prompts", examples=["data/prompts.jsonl"])
    eval: InputPath | None = Field(None, description="file or folder of held-out prompts")
    max_prompt_length: PositiveInt = Field(256, description="longest prompt, tokens")
    max_response_length: PositiveInt = Field(256, description="longest response, tokens")
    on_broken_row: Literal["error", "skip"] = Field("error", description="what a broken row does")


class Ppo(Section):
    """The constants of PPO."""

    kl_coef: NonNegative = Field(0.02, description="weight of the KL to the reference")
    kl_target: Positive | None = Field(None, description="nats per sequence; null: kl_coef stays fixed")
    clip_range: Positive = Field(0.2, description="clip of the probability ratio")
    value_clip_range: Positive = Field(0.2, description="clip of the value")
    gamma: Fraction = Field(1.0, description="discount")
    lam: Fraction = Field(0.95, description="lambda of GAE")
    inner_epochs: PositiveInt = Field(1, description="passes over each rollout")
    temperature: Positive = Field(1.0, description="sampling temperature, also of all log-probabilities")


class PpoSpec(Spec):
    """Proximal policy optimisation against a reward."""

    kind: Literal[Kind.PPO] = Kind.PPO
    model: Model = Field(description="the policy's start, usually an SFT model", examples=[{"path": "models/sft"}])
    reward_model: Model = Field(description="the reward model", examples=[{"path": "models/reward"}])
    data: PromptData = Field(description="prompts")
    ppo: Ppo = Field(default_factory=Ppo, description="the constants of PPO")
    train: Train = Field(default_factory=Train, description="how the trainer runs")


class RagSpec(Spec):
    """A retrieval index."""

    kind: Literal[Kind.RAG] = Kind.RAG
    corpus: InputPath = Field(description="file or folder of documents", examples=["data/documents.jsonl"])
    embedder: InputPath = Field(description="folder of a sentence-transformers model", examples=["models/embedder"])
    chunk_tokens: PositiveInt = Field(200, description="tokens a chunk")
    chunk_overlap: Count = Field(40, description="tokens that neighbouring chunks share")
    index: str = Field("auto", description="auto, or a faiss factory string")

    @model_validator(mode="after")
    def _chunks_advance(self) -> Self:
        if self.chunk_overlap >= self.chunk_tokens:
            raise ValueError(f"has chunk_overlap {self.chunk_overlap}, not below chunk_tokens ({self.chunk_tokens})")
        return self


class EvalSpec(Spec):
    """A measurement of hallucination."""

    kind: Literal[Kind.EVAL] = Kind.EVAL
    model: Model = Field(description="the model that answers", examples=[{"path": "models/policy"}])
    questions: InputPath = Field(
        description="file of questions with accepted answers", examples=["data/questions.jsonl"]
    )
    rag_index: InputPath | None = Field(None, description="retrieval index; null: closed book")
    max_response_length: PositiveInt = Field(64, description="longest answer, tokens")


# What the trainers train.
TrainedSpec = SftSpec | RmSpec
AnySpec = SftSpec | RmSpec | PpoSpec | RagSpec | EvalSpec

SPEC_TYPES: dict[Kind, type[AnySpec]] = {
    Kind.SFT: SftSpec,
    Kind.RM: RmSpec,
    Kind.PPO: PpoSpec,
    Kind.RAG: RagSpec,
    Kind.EVAL: EvalSpec,
}
