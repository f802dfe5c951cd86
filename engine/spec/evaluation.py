"""The sections of an evaluation: the model, how it answers, and how its answers are judged."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.spec.fields import Count, Fraction, InputPath, Positive, PositiveInt, Section


class AnsweringModel(Section):
    """The model that answers; each rank has a whole one."""

    path: InputPath = Field(description="folder of a Hugging Face causal language model", examples=["models/policy"])
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: that of the folder")
    template: InputPath | None = Field(
        None, description="chat template file (Jinja); null: the tokenizer's own, or the plain one"
    )


class Answers(Section):
    """How it answers: with the likeliest tokens, so that the same question has the same answer."""

    style: Literal["plain", "numbered"] = Field(
        "plain", description="plain: the passages, then the question; numbered: as sources that answers cite"
    )
    prompt: InputPath | None = Field(
        None, description="file (Jinja) that writes passages and question in place of a style; null: the style"
    )
    max_response_length: PositiveInt = Field(64, description="longest answer, tokens")
    samples: Count = Field(0, description="answers drawn beside the likeliest one, to see whether they agree with it")
    temperature: Positive = Field(1.0, description="of the drawn answers")
    batch_size: PositiveInt = Field(16, description="sequences that a rank writes at once")
    min_support: Fraction | None = Field(
        None, description="answers whose weakest claim the passages support less are withheld; null: none are"
    )


class GradingSettings(Section):
    """How answers are judged."""

    abstentions: tuple[str, ...] = Field(
        ("unknown", "i don't know", "i do not know", "i am not sure", "i'm not sure"),
        description="an answer that begins with one of these, and leaves it at that, abstains",
        min_length=1,
    )
    f1_from: Fraction | None = Field(
        None, description="token F1 from which an answer is correct; null: only an accepted answer itself is"
    )
    confidence: Literal["probability", "per_token", "agreement"] = Field(
        "probability",
        description="of an answer: probability: of all of it; per_token: geometric mean of its tokens; agreement: "
        "share of the drawn answers that say the same",
    )
    abstain_below: Fraction | None = Field(
        None, description="answers of lower confidence count as withheld; null: none do"
    )


class SupportSettings(Section):
    """What tells whether passages support a claim."""

    scorer: Literal["exact", "lexical", "lexical:bigram", "nli"] = Field(
        "lexical", description="exact: word for word; lexical: share of words; lexical:bigram: of pairs; nli: a model"
    )
    path: InputPath | None = Field(None, description="nli: folder of a cross-encoder that reads entailment")
    threshold: Fraction | None = Field(
        None, description="least score of a supported claim; null: the scorer's own (docs/faithfulness.md)"
    )

    @model_validator(mode="after")
    def _has_its_model(self) -> Self:
        if (self.scorer == "nli") != (self.path is not None):
            raise ValueError("needs path with scorer nli, and only with it")
        return self
