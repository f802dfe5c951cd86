"""What a corpus was made of: the SHA-256 of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.rag.reading.contents import opened
from engine.rag.reading.files import walk
from engine.rag.reading.rules import Unreadable, rules_of
from engine.rag.records import Rejected

if TYPE_CHECKING:
    from engine.spec.rag import Corpus


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a corpus."""

    path: str  # relative to the corpus
    sha256: str
    bytes: int


def file_digests(corpus: Corpus) -> list[FileDigest]:
    """Return the digests of the files that are read, in their order; without those too large or unreadable.

    Raises:
        NotFound: if the corpus does not exist.
    """
    rules = rules_of(corpus)
    digests = []
    for file in walk(corpus.path):
        if isinstance(file, Rejected):
            continue
        try:
            with opened(file.path, rules) as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
                digests.append(FileDigest(file.name, sha256, content.tell()))
        except Unreadable:  # told when it is read
            continue
    return digests


def corpus_digest(digests: Iterable[FileDigest]) -> str:
    """Return the SHA-256 of the list of digests, as `sha256sum` prints it."""
    listing = "".join(f"{digest.sha256}  {digest.path}\n" for digest in digests)
    return hashlib.sha256(listing.encode()).hexdigest()
