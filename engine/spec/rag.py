"""The sections of a retrieval index: documents, chunks, the embedder, and the index."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.spec.fields import NUMBER, Count, Fraction, InputPath, PositiveInt, Section

FileSize = Annotated[int, Field(ge=1, le=2**50), NUMBER]
Similarity = Annotated[float, Field(gt=0.0, le=1.0), NUMBER]


class Corpus(Section):
    """The documents: text, Markdown, HTML, PDF, JSONL, CSV, Parquet, `datasets` folders, and folders of these."""

    path: InputPath = Field(description="file or folder of documents", examples=["data/documents.jsonl"])
    text_key: str = Field("text", description="column of the text, in files of rows")
    id_key: str = Field("id", description="column of the id; rows without one are called FILE:LINE")
    title_key: str = Field("title", description="column of the title, where a row has it")
    metadata_keys: tuple[str, ...] = Field(
        (), description="columns kept to filter by; empty: all that hold a text, a number or a truth value"
    )
    max_file_bytes: FileSize = Field(2**34, description="largest file; larger ones are rejected")
    max_characters: PositiveInt = Field(5_000_000, description="longest document; longer ones are rejected")
    near_duplicates: Similarity | None = Field(
        0.9, description="share of common word 5-grams from which a chunk counts as a copy; null: only equal ones do"
    )


class Chunking(Section):
    """How documents are cut into chunks, the units of retrieval."""

    by: Literal["structure", "sentences", "tokens"] = Field(
        "structure",
        description="structure: at headings, paragraphs, then sentences; sentences; tokens: wherever they are full",
    )
    tokens: PositiveInt = Field(200, description="most tokens of a chunk, of the embedder's tokenizer")
    overlap: Count = Field(40, description="most tokens that neighbouring chunks share")
    max_truncated: Fraction = Field(
        0.01, description="share of the chunks that the embedder may cut before the build is refused"
    )

    @model_validator(mode="after")
    def _chunks_advance(self) -> Self:
        if self.overlap >= self.tokens:
            raise ValueError(f"has overlap {self.overlap}, not below tokens ({self.tokens})")
        return self


class Embedder(Section):
    """A sentence-transformers model."""

    path: InputPath = Field(description="folder of a sentence-transformers model", examples=["models/embedder"])
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: the fastest that gives the same directions (cosine at least .999), by a short trial"
    )
    batch_size: PositiveInt | None = Field(None, description="texts at once; null: the fastest, by a short trial")
    query_prompt: str = Field("", description="text before each query")
    passage_prompt: str = Field("", description="text before each chunk")


class IndexSettings(Section):
    """What is searched."""

    factory: str = Field("auto", description="auto: by the number of chunks; or a faiss factory string")
    lexical: bool = Field(True, description="BM25 beside the vectors, for lexical and hybrid search")
    block_size: PositiveInt = Field(4096, description="chunks that a rank embeds in one piece")
    training_vectors: Count = Field(0, description="vectors that an index is trained on; 0: what its lists need")
