"""What is read of a file and how much of it: what a reader needs of the spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.rag.records import Document, Rejected

if TYPE_CHECKING:
    from engine.spec.rag import Corpus

Reject = Callable[[Rejected], None]
Found = Iterator[Document | Rejected]


@dataclass(frozen=True, slots=True)
class Rules:
    """The keys of `data` that concern single files; see `engine.spec.rag.Corpus`."""

    text_key: str
    id_key: str
    title_key: str
    metadata_keys: tuple[str, ...]
    max_file_bytes: int
    max_characters: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process that parses files may use before its file is given up."""

    memory_bytes: int = 2 << 30  # of address space, beside a file that is mapped into it
    cpu_seconds: int = 300  # for a file, or for a row of a file of rows
    silence_seconds: int = 1200  # between two documents, of the clock


class Unreadable(Exception):
    """A file cannot be read, or no further; the message completes the sentence "FILE …", or "FILE:LINE …"."""

    def __init__(self, reason: str, line: str = "") -> None:
        super().__init__(reason)
        self.line = line  # where the file is broken, if it is one place


def rules_of(corpus: Corpus) -> Rules:
    """Return what readers need of a corpus' settings."""
    return Rules(
        text_key=corpus.text_key,
        id_key=corpus.id_key,
        title_key=corpus.title_key,
        metadata_keys=corpus.metadata_keys,
        max_file_bytes=corpus.max_file_bytes,
        max_characters=corpus.max_characters,
    )


def require_short(characters: int, rules: Rules) -> None:
    """Raise Unreadable if a document has too many characters."""
    if characters > rules.max_characters:
        raise Unreadable(f"has {characters:,} characters, more than max_characters ({rules.max_characters:,})")
