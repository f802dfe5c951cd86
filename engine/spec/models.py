"""The typed specs of every kind. A new kind needs nothing but its type here."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from engine.spec.evaluation import AnsweringModel, Answers, GradingSettings, SupportSettings
from engine.spec.fields import Count, Fraction, InputPath, Name, NonNegative, PositiveInt, Section
from engine.spec.ppo import Critic, Ppo, PromptData, Ptx, Reference, RewardTerm, Rollout
from engine.spec.rag import Chunking, Corpus, Embedder, IndexSettings
from engine.spec.retrieval import Search
from engine.spec.sections import Data, Model, Placement, Supervision, Train


class Kind(StrEnum):
    """The kinds of experiment."""

    SFT = "sft"
    RM = "rm"
    PPO = "ppo"
    RAG = "rag"
    EVAL = "eval"
    SIM = "sim"


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
    supervision: Supervision = Field(
        default_factory=Supervision, description="what is done when nodes, links or ranks fail"
    )


def _require_borders(model: Model, data: Data | PreferenceData) -> None:
    """Refuse packed rows where transformers does not see the borders: flash attention, but for one row at a time."""
    if data.packing and model.attention == "flash":
        raise ValueError(
            "has data.packing and model.attention flash, with which packed examples would see each other; "
            "set model.attention to auto or sdpa"
        )


class SftSpec(Spec):
    """Supervised fine-tuning, or a plain language-model objective on text."""

    kind: Literal[Kind.SFT] = Kind.SFT
    model: Model = Field(description="where the weights come from", examples=[{"path": "models/base"}])
    data: Data = Field(description="what it trains on")
    train: Train = Field(default_factory=Train, description="how the trainer runs")

    @model_validator(mode="after")
    def _packing_fits(self) -> Self:
        _require_borders(self.model, self.data)
        return self


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
    packing: bool = Field(False, description="put several answers into one row, without attention between them")
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

    @model_validator(mode="after")
    def _packing_fits(self) -> Self:
        _require_borders(self.model, self.data)
        return self


class PpoSpec(Spec):
    """Proximal policy optimisation against a reward."""

    kind: Literal[Kind.PPO] = Kind.PPO
    model: Model = Field(description="the policy's start, usually an SFT model", examples=[{"path": "models/sft"}])
    rewards: dict[Name, RewardTerm] = Field(
        description="terms of the reward by name; their sum is the score",
        examples=[{"reward": {"path": "models/reward"}}],
        min_length=1,
    )
    data: PromptData = Field(description="prompts")
    rollout: Rollout = Field(default_factory=Rollout, description="how answers are sampled")
    ppo: Ppo = Field(default_factory=Ppo, description="the constants of PPO")
    reference: Reference = Field(default_factory=Reference, description="what the divergence is measured from")
    critic: Critic = Field(default_factory=Critic, description="the network that predicts the return")
    ptx: Ptx | None = Field(None, description="mix in a language-model loss; null: none")
    train: Train = Field(
        default_factory=Train, description="how the trainer runs; batch_size counts episodes per optimiser step"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.model.path is None:
            raise ValueError("needs model.path: a policy is not made from scratch")
        if self.ppo.estimator != "gae" and self.rollout.samples_per_prompt < 2:
            raise ValueError(f"has estimator {self.ppo.estimator}, which needs rollout.samples_per_prompt of 2 or more")
        if self.ptx is not None:
            _require_borders(self.model, self.ptx.data)
        if self.critic.share_base and self.model.lora is None:
            raise ValueError("has critic.share_base, which needs model.lora")
        return self

    @model_validator(mode="after")
    def _critic_fits_its_stage(self) -> Self:
        stage = self.train.zero_stage if self.critic.zero_stage is None else self.critic.zero_stage
        if self.train.precision == "fp16" and stage == 0:
            raise ValueError("has train.precision fp16, which needs critic.zero_stage 1, 2 or 3")
        if self.critic.offload_optimizer and stage == 0:
            raise ValueError("has critic.offload_optimizer, which needs critic.zero_stage 1, 2 or 3")
        if self.critic.offload_parameters and stage != 3:
            raise ValueError("has critic.offload_parameters, which needs critic.zero_stage 3")
        if self.critic.offload_optimizer and stage != 3 and self.train.nvme_path is not None:
            raise ValueError("has critic.offload_optimizer and train.nvme_path, which needs critic.zero_stage 3")
        return self


class RagSpec(Spec):
    """A retrieval index."""

    kind: Literal[Kind.RAG] = Kind.RAG
    corpus: Corpus = Field(description="the documents")
    chunks: Chunking = Field(default_factory=Chunking, description="how they are cut")
    embedder: Embedder | None = Field(
        None, description="makes vectors of chunks; null: words alone", examples=[{"path": "models/embedder"}]
    )
    index: IndexSettings = Field(default_factory=IndexSettings, description="what is searched")
    questions: InputPath | None = Field(
        None,
        description="questions with relevant documents, by which the index is measured at the end; null: it is not",
    )
    base: InputPath | None = Field(
        None, description="an earlier index, whose vectors of equal chunks are taken over; null: all are embedded"
    )

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.embedder is None and not self.index.lexical:
            raise ValueError("has neither an embedder nor index.lexical, so nothing could be searched")
        return self


class EvalSpec(Spec):
    """A measurement of hallucination."""

    kind: Literal[Kind.EVAL] = Kind.EVAL
    model: AnsweringModel = Field(description="the model that answers")
    questions: InputPath = Field(
        description="file of questions with accepted answers", examples=["data/questions.jsonl"]
    )
    qrels: InputPath | None = Field(
        None,
        description="file of the relevant documents of questions; null: the questions name theirs, or it is unknown",
    )
    format: Literal["open", "multiple_choice"] = Field(
        "open", description="open: it writes answers; multiple_choice: it weighs those of the row, as TruthfulQA does"
    )
    passages: Literal["none", "index", "gold"] = Field(
        "none",
        description="what it reads before a question: none: closed book; index: what is found; gold: the true ones",
    )
    retrieval: Search | None = Field(None, description="passages index: where they are looked up")
    corpus: InputPath | None = Field(
        None, description="passages gold: the documents that questions name by id; null: the row's own passage"
    )
    evidence_key: str = Field("evidence", description="passages gold, without corpus: column of the passage")
    group_key: str | None = Field("group", description="column that groups the figures, where a row has it; null: none")
    split: str | None = Field(None, description="ask only rows whose column split is this; null: all")
    limit: Count = Field(0, description="ask only so many, the first ones; 0: all")
    answers: Answers = Field(default_factory=Answers, description="how it answers")
    grading: GradingSettings = Field(default_factory=GradingSettings, description="how answers are judged")
    support: SupportSettings = Field(
        default_factory=SupportSettings, description="with passages: what tells whether they support a claim"
    )
    examples: Count = Field(10, description="answers that are shown while it runs, the first ones")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.passages == "index") != (self.retrieval is not None):
            raise ValueError("needs retrieval with passages index, and only with it")
        if self.corpus is not None and self.passages != "gold":
            raise ValueError(f"has corpus, which only passages gold reads; its passages are {self.passages}")
        if self.format == "multiple_choice" and (self.answers.samples or self.answers.min_support is not None):
            raise ValueError(
                "has format multiple_choice, with which no answer is written: set answers.samples to 0 and "
                "answers.min_support to null"
            )
        if self.answers.min_support is not None and self.passages == "none":
            raise ValueError("has answers.min_support, which needs passages")
        if self.grading.confidence == "agreement" and not self.answers.samples:
            raise ValueError("has grading.confidence agreement, which needs answers.samples of 1 or more")
        return self


class SimSpec(Spec):
    """A simulated run: it trains nothing and logs as if it did. For trying out a cluster."""

    kind: Literal[Kind.SIM] = Kind.SIM
    steps: PositiveInt = Field(100, description="steps to take")
    step_seconds: NonNegative = Field(0.1, description="seconds a step")
    metrics: PositiveInt = Field(4, description="metrics that a step logs")
    checkpoint_every: Count = Field(0, description="steps between checkpoints; 0: when it is stopped only")
    every_rank: bool = Field(False, description="every rank logs a line a step, not the first alone")
    fail_step: PositiveInt | None = Field(None, description="step at which a rank fails; null: none")
    fail_rank: Count = Field(0, description="the rank that fails then")


# What the trainers train.
TrainedSpec = SftSpec | RmSpec | PpoSpec
AnySpec = SftSpec | RmSpec | PpoSpec | RagSpec | EvalSpec | SimSpec
SPEC_TYPES: dict[Kind, type[AnySpec]] = {
    Kind.SFT: SftSpec,
    Kind.RM: RmSpec,
    Kind.PPO: PpoSpec,
    Kind.RAG: RagSpec,
    Kind.EVAL: EvalSpec,
    Kind.SIM: SimSpec,
}
