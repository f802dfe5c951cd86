"""The sections that several kinds share: where weights come from, data, and how the trainer runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.spec.fields import NUMBER, Count, Decay, Fraction, InputPath, NonNegative, Positive, PositiveInt, Section


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


class Lora(Section):
    """Low-rank adapters: only they train, the weights under them stay (Hu et al. 2021)."""

    rank: PositiveInt = Field(16, description="rank of the two factors")
    alpha: Positive = Field(32.0, description="the adapter's output is scaled by alpha / rank")
    dropout: Decay = Field(0.0, description="dropout before the adapter; 0 in PPO, whose sampling must match scoring")
    targets: tuple[str, ...] = Field((), description="names of the linear layers; empty: all but the head")


class Model(Section):
    """Where the weights come from: a folder, or a shape to start from scratch."""

    path: InputPath | None = Field(None, description="folder of a Hugging Face causal language model")
    architecture: Architecture | None = Field(None, description="instead of path: a model from scratch")
    tokenizer: Tokenizer | None = Field(None, description="instead of path: a tokenizer trained on the corpus")
    lora: Lora | None = Field(None, description="train adapters only; null: all weights")
    attention: Literal["auto", "sdpa", "flash", "eager"] = Field(
        "auto", description="auto: what transformers takes; flash: needs flash-attn, a GPU, and bf16 or fp16"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is None and self.architecture is None:
            raise ValueError("needs either path or architecture")
        if self.path is not None and self.architecture is not None:
            raise ValueError("has both path and architecture; set one of the two to null")
        if self.path is not None and self.tokenizer is not None:
            raise ValueError("has path and tokenizer; a folder brings its own tokenizer, so set tokenizer to null")
        if self.lora is not None and self.path is None:
            raise ValueError("has lora, which needs path: adapters change a trained model")
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
    order: Literal["shuffled", "given"] = Field(
        "shuffled",
        description="shuffled: anew for each pass; given: as the file has them, for data that grows harder",
    )
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


Action = Literal["off", "warn", "pause", "rollback"]


class Health(Section):
    """What a finding of the health rules does: an event (warn), a stop with a checkpoint (pause), or a way back.

    After a rollback the run goes on from the last checkpoint from before the finding, with other rows, other random
    numbers and a lower learning rate. A rule whose metrics a kind does not log finds nothing.
    """

    not_finite: Literal["fail", "pause", "rollback"] = Field("fail", description="NaN, infinity, or endless overflow")
    negative_kl: Action = Field("warn", description="a divergence below 0: sampling and scoring disagree")
    kl_limit: Positive | None = Field(None, description="nats per sequence; null: three times ppo.kl_target")
    kl_over_limit: Action = Field("warn", description="the divergence stays above kl_limit")
    collapse: Action = Field("warn", description="entropy or response length fell to a fraction of what they were")
    repetition: Action = Field("warn", description="answers repeat themselves")
    no_eos: Action = Field("warn", description="answers no longer end by themselves")
    critic: Action = Field("warn", description="explained variance stays below 0: the critic harms")
    overoptimisation: Action = Field("warn", description="the score rises while the held-out score falls")
    rollback_lr: Fraction = Field(0.5, description="share of the learning rate that each rollback leaves")
    most_rollbacks: Count = Field(3, description="rollbacks, after which the run pauses")


class Train(Section):
    """How the trainer runs."""

    steps: PositiveInt | None = Field(None, description="optimiser steps, in PPO rollouts; null: epochs counts")
    epochs: Positive = Field(1.0, description="passes over the data, when steps is null")
    batch_size: PositiveInt = Field(64, description="examples (packed rows, pairs) per optimiser step, over all ranks")
    micro_batch_size: PositiveInt = Field(
        8, description="most examples per rank and forward pass; the batch need not divide evenly into it"
    )
    micro_batch_tokens: PositiveInt | None = Field(
        None, description="most tokens per rank and forward pass, pads included; null: micro_batch_size alone counts"
    )
    lr: Positive = Field(2e-5, description="peak learning rate")
    schedule: Schedule = Field(default_factory=Schedule, description="learning rate over the steps")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="AdamW")
    clip: NonNegative = Field(1.0, description="largest gradient norm; 0: no clipping")
    precision: Literal["bf16", "fp16", "fp32"] = Field(
        "bf16", description="arithmetic of the forward and backward pass"
    )
    zero_stage: Annotated[Literal[0, 1, 2, 3], NUMBER] = Field(2, description="DeepSpeed ZeRO stage")
    offload_optimizer: bool = Field(False, description="keep optimiser states in host memory")
    offload_parameters: bool = Field(False, description="keep parameters in host memory (ZeRO 3)")
    nvme_path: str | None = Field(
        None, description="folder on a local disk for offloaded states (ZeRO 3); null: host memory"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass")
    log_every: PositiveInt = Field(1, description="steps between logged points")
    eval_every: Count = Field(0, description="steps between evaluations; 0: at the end only")
    eval_batches: Count = Field(0, description="micro-batches per evaluation; 0: the whole evaluation set")
    sample_prompts: Count = Field(4, description="evaluation prompts answered at each evaluation and kept as samples")
    sample_tokens: PositiveInt = Field(32, description="longest sampled answer, tokens")
    checkpoint_every: Count = Field(0, description="steps between checkpoints; 0: at the end only")
    keep_checkpoints: PositiveInt = Field(2, description="complete checkpoints that stay")
    timeout_seconds: PositiveInt = Field(600, description="longest wait for another rank before the run fails")
    health: Health = Field(default_factory=Health, description="what the health rules do")

    @model_validator(mode="after")
    def _stage_fits(self) -> Self:
        if self.precision == "fp16" and self.zero_stage == 0:
            # DeepSpeed 0.19 does not scale the loss there, and divides the gradients by the scale all the same.
            raise ValueError("has precision fp16, which needs zero_stage 1, 2 or 3")
        if self.offload_optimizer and self.zero_stage == 0:
            raise ValueError("has offload_optimizer, which needs zero_stage 1, 2 or 3")
        if self.offload_parameters and self.zero_stage != 3:
            raise ValueError("has offload_parameters, which needs zero_stage 3")
        if self.nvme_path is not None and not (self.offload_optimizer or self.offload_parameters):
            raise ValueError("has nvme_path, which needs offload_optimizer or offload_parameters")
        if self.nvme_path is not None and self.zero_stage != 3:
            raise ValueError("has nvme_path, which needs zero_stage 3")
        return self


class Placement(Section):
    """How much of the hostfile a run takes."""

    nodes: PositiveInt | None = Field(None, description="nodes; null: all of the hostfile")
    min_nodes: PositiveInt | None = Field(
        None, description="fewest nodes it begins with, where fewer than nodes are free; null: exactly nodes"
    )
    slots: PositiveInt | None = Field(None, description="slots a node; null: all of the node")
    threads: PositiveInt | None = Field(None, description="CPU threads a rank; null: cores divided by slots")
    share: bool = Field(False, description="share its slots with other runs that share, too")

    @model_validator(mode="after")
    def _range_fits(self) -> Self:
        if self.min_nodes is not None and self.nodes is not None and self.min_nodes > self.nodes:
            raise ValueError(f"has min_nodes {self.min_nodes}, above nodes ({self.nodes})")
        return self


class Supervision(Section):
    """What is done when nodes, links or ranks fail."""

    retries: Count = Field(
        3, description="new attempts when a node or a link fails, from the last checkpoint; never for faults of the run"
    )
    lost_after: PositiveInt | None = Field(
        600, description="seconds that a node may be silent before the run is taken from it; null: for ever"
    )
    elastic: bool = Field(False, description="go on with other nodes, or fewer of them, when a node is lost")
    stall_factor: Positive = Field(
        20.0, description="a rank has stalled when it takes so many times the median step, and a minute at least"
    )
    on_stall: Literal["warn", "restart"] = Field("warn", description="what a stalled rank does")
