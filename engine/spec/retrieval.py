"""The section that says which passages of a retrieval index a model reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.spec.fields import InputPath, PositiveInt, Section


class Search(Section):
    """Passages of a retrieval index, which a model reads before the question."""

    index: InputPath = Field(description="folder of a retrieval index", examples=["models/index"])
    embedder: InputPath | None = Field(
        None, description="folder of the index's embedder; null: where the build found it, or search by words alone"
    )
    passages: PositiveInt = Field(1, description="passages of a prompt, the best ones first")
    mode: Literal["auto", "dense", "lexical", "hybrid"] = Field(
        "auto", description="auto: what the index has, both if it has both; dense: vectors; lexical: BM25; hybrid"
    )
    fusion: Literal["ranks", "scores"] = Field(
        "ranks", description="of a hybrid search: ranks: reciprocal ranks; scores: cosine and BM25 on one scale"
    )
