"""What is cut, kept and found: documents, chunks, passages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document: what stands under one heading, or a page."""

    start: int  # characters from the beginning of the document's text
    heading: str  # headings from the outermost on, joined by " > "; "" before the first


@dataclass(frozen=True, slots=True)
class Document:
    """One document, cleaned."""

    id: str
    text: str
    source: str  # FILE, FILE:LINE, or FILE:page N
    title: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()  # ascending; empty: the text has no structure


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that could not be read, or was left out, and why."""

    place: str  # FILE, FILE:LINE, or FILE:page N
    reason: str  # completes the sentence "PLACE …": "is empty", "is not UTF-8: …"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document, the unit of retrieval."""

    id: str  # SHA-256 of document id, span and text, shortened: the same chunk has the same id in every build
    document: str  # id of its document
    start: int  # characters from the beginning of the document's text
    end: int
    text: str
    heading: str = ""  # of the section it begins in


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that a search found."""

    rank: int  # from 1
    score: float  # cosine or inner product (dense), BM25 (lexical), reciprocal ranks (hybrid), or the reranker's
    chunk: Chunk
    title: str
    source: str
    metadata: Mapping[str, Scalar]
    ranks: Mapping[str, int] = field(default_factory=dict)  # by way of search: "dense", "lexical"; where it was found
