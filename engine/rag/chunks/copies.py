"""Documents of which chunks were left out as copies of others, and what becomes of them when those go."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.rag.records import Rejected

if TYPE_CHECKING:
    from engine.rag.opening import OpenIndex

_REASON = "has text that was left out as a copy of what is gone now; add it again"


@dataclass(frozen=True, slots=True)
class Copying:
    """A document that lacks chunks because others say the same."""

    document: str
    source: str
    number: int | None  # of the document; None: nothing of it is in the index
    originals: frozenset[str]  # ids of the chunks that stand for its own


def copying_documents(index: OpenIndex, live: Collection[int]) -> list[Copying]:
    """Return the documents of an index that lack chunks. live: numbers of the documents that have rows which count."""
    found: dict[tuple[int, str], tuple[str, set[str]]] = {}
    for place, segment in enumerate(index.segments):
        for line in segment.copies:
            found.setdefault((place, line["document"]), (line["source"], set()))[1].add(line["of"])
    return list(_relevant(index, found, frozenset(live))) if found else []


def _relevant(
    index: OpenIndex, found: dict[tuple[int, str], tuple[str, set[str]]], live: frozenset[int]
) -> Iterator[Copying]:
    numbers: dict[str, list[int]] = {}
    for number, document in enumerate(index.documents):
        numbers.setdefault(document.id, []).append(number)
    for (place, identity), (source, originals) in found.items():
        start, stop = index.document_starts[place : place + 2]
        here = [number for number in numbers.get(identity, ()) if start <= number < stop]
        if here and here[0] in live:
            yield Copying(identity, source, here[0], frozenset(originals))
        elif identity not in numbers:  # else it was removed, or a later one took its place
            yield Copying(identity, source, None, frozenset(originals))


def bereft(index: OpenIndex, copying: Collection[Copying], staying: NDArray[np.int64]) -> list[Copying]:
    """Return those of which an original is not among the rows that stay."""
    if not copying:
        return []
    there = {index.chunk(int(row)).id for row in staying}
    return [one for one in copying if not one.originals <= there]


def told(lost: Collection[Copying]) -> list[Rejected]:
    """Return what is told of documents whose text is no longer there."""
    return [Rejected(one.source, _REASON) for one in lost]
