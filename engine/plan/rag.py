"""The plan of a retrieval index: which kind fits so many vectors, and what it takes on disk, in memory and in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.plan.factories import FLOAT, Factory, parse_factory
from engine.plan.sizes import in_words

FLAT_BELOW = 20_000  # vectors that are compared one by one in milliseconds
ONE_LEVEL_TO = 2_000_000  # vectors up to which the centres of the lists are compared one by one
LARGE_LISTS = 65_536
GRAPH_LINKS = 32  # of the graph over so many centres

# English prose has about 5 (SQuAD, WordPiece), code and other languages fewer: rather too many chunks than too few.
BYTES_PER_TOKEN = 4.0
FILLED = 0.8
CHUNKS_ASSUMPTION = f"{BYTES_PER_TOKEN:g} bytes a token, chunks {FILLED:.0%} full"

# Bytes of a process that holds numpy, faiss and nothing else (benchmarks/rag_search.py).
_PROCESS = 80 * 10**6
_PIECE = 16_384  # vectors that are added at once (engine/rag/vectors/training.py)
# Memory of inverted lists grows by doubling: before and after, both copies are there for a moment.
_GROWTH = 2.0
_WELL_TRAINED = 39  # vectors a list, below which faiss warns


@dataclass(frozen=True, slots=True)
class Choice:
    """The kind of an index, and why."""

    factory: str
    reason: str  # one sentence
    effort: int | None = None  # lists or neighbours that a search looks at; None: it looks at everything
    effort_name: str = ""  # "nprobe" or "efSearch", as faiss calls it
    training_vectors: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RagPlan:
    """What an index takes. None: unknown, because the kind of index or the speed is."""

    rows: int
    dimension: int
    choice: Choice
    vectors_bytes: int  # on disk, as float32: what is found is scored by them
    index_bytes: int | None  # on disk
    building_bytes: int | None  # of memory while it is trained and filled, without the embedder
    searching_bytes: int | None  # of memory while it is searched memory-mapped; the files fill the page cache beside it
    embedding_seconds: float | None


def choose_index(
    rows: int,
    dimension: int,
    *,
    factory: str = "auto",
    memory_bytes: int | None = None,
    training_vectors: int | None = None,
) -> Choice:
    """Return the kind of index for so many vectors.

    Args:
        rows: vectors.
        dimension: of each.
        factory: "auto", or a factory string of faiss that is taken as it is.
        memory_bytes: of the machine that builds; None: enough.
        training_vectors: vectors to train on; None or 0: what the lists need.

    Raises:
        InvalidInput: the factory string is none, or needs more training vectors than there are.
    """
    if rows < 0 or dimension < 1:
        raise InvalidInput(f"An index over {rows} vectors of {dimension} dimensions cannot be.")
    if factory != "auto":
        return _given(parse_factory(factory, dimension), rows, dimension, training_vectors)
    if rows < FLAT_BELOW:
        return Choice("Flat", f"{rows:,} vectors are fewer than {FLAT_BELOW:,}, so each is compared, exactly.")
    if rows <= ONE_LEVEL_TO:
        lists = f"IVF{_lists(rows)}"
        why = f"{rows:,} vectors are grouped in about 4√N lists, of which a search reads a few"
    else:
        lists = f"IVF{LARGE_LISTS}_HNSW{GRAPH_LINKS}"
        why = f"{rows:,} vectors are grouped in {LARGE_LISTS:,} lists, and a graph over these finds the few to read"
    choice = _chosen(f"{lists},SQ8", f"{why}; a byte a dimension keeps their order.", rows, dimension, training_vectors)
    if memory_bytes is None or _building(choice, rows, dimension) <= memory_bytes:
        return choice
    code = f"PQ{dimension // 4}x4fs" if dimension % 8 == 0 else "SQ4"
    reason = f"{why}; codes are shorter than a byte a dimension to fit {in_words(memory_bytes)} of memory."
    small = _chosen(f"{lists},{code}", reason, rows, dimension, training_vectors)
    takes = _building(small, rows, dimension)
    if takes <= memory_bytes:
        return small
    warning = f"the smallest index takes {in_words(takes)} of memory to build, of {in_words(memory_bytes)}"
    return Choice(small.factory, reason, small.effort, small.effort_name, small.training_vectors, (warning,))


def estimate(rows: int, dimension: int, choice: Choice, *, chunks_per_second: float | None = None) -> RagPlan:
    """Return what an index takes.

    Args:
        rows: vectors.
        dimension: of each.
        choice: of `choose_index`.
        chunks_per_second: that all ranks embed, measured; None: unknown.
    """
    factory = parse_factory(choice.factory, dimension)
    known = factory.code_bytes is not None
    # Codes of fast scan are not memory-mapped by faiss, nor are centres; the rest is.
    held = factory.code_bytes if factory.fast else 0.0
    return RagPlan(
        rows,
        dimension,
        choice,
        vectors_bytes=rows * dimension * FLOAT,
        index_bytes=factory.index_bytes(rows),
        building_bytes=_building(choice, rows, dimension) if known else None,
        searching_bytes=round(_PROCESS + factory.constant_bytes + rows * (held or 0.0)) if known else None,
        embedding_seconds=rows / chunks_per_second if chunks_per_second else None,
    )


def chunks_of_bytes(size: int, *, chunk_tokens: int, overlap: int) -> int:
    """Return about how many chunks a corpus of so many bytes of text makes, assuming CHUNKS_ASSUMPTION."""
    return math.ceil(size / BYTES_PER_TOKEN / max(1.0, chunk_tokens * FILLED - overlap))


def _lists(rows: int) -> int:
    """Return about 4√N lists, a power of two: so an index that grows keeps its lists for long."""
    return int(2 ** round(math.log2(4 * math.sqrt(rows))))


def _given(factory: Factory, rows: int, dimension: int, training_vectors: int | None) -> Choice:
    if factory.needed > rows:
        fits = "Flat" if rows < FLAT_BELOW else choose_index(rows, dimension).factory
        raise InvalidInput(
            f"{factory.text!r} needs {factory.needed:,} vectors to be trained on, and there are {rows:,}.",
            hint=f'Write "auto", or "{fits}", which fits.',
        )
    warnings = []
    if factory.coarse:
        warnings.append(
            f"codes of {factory.text} are so short that neighbours may be missed: look at its recall, or take SQ8"
        )
    if factory.lists and rows < _WELL_TRAINED * factory.lists:
        warnings.append(
            f"{factory.lists:,} lists have {rows / factory.lists:.0f} vectors each, and need {_WELL_TRAINED} or more"
        )
    reason = f"{factory.text} was asked for."
    choice = _chosen(factory.text, reason, rows, dimension, training_vectors)
    return Choice(factory.text, reason, choice.effort, choice.effort_name, choice.training_vectors, tuple(warnings))


def _chosen(text: str, reason: str, rows: int, dimension: int, training_vectors: int | None) -> Choice:
    factory = parse_factory(text, dimension)
    wanted = max(training_vectors, factory.needed) if training_vectors else factory.wanted
    effort, name = None, ""
    if factory.lists:
        effort, name = min(factory.lists, max(factory.lists // 32, 32), 128), "nprobe"
    elif factory.links:
        effort, name = 64, "efSearch"
    return Choice(text, reason, effort, name, min(rows, wanted))


def _building(choice: Choice, rows: int, dimension: int) -> int:
    """Return the memory of training, then of filling: whichever is more."""
    factory, vector = parse_factory(choice.factory, dimension), dimension * FLOAT
    # The sample, and the copy that the training makes of it.
    training = 2 * choice.training_vectors * vector
    filling = (factory.index_bytes(rows) or rows * vector) * _GROWTH + 2 * _PIECE * vector
    return round(_PROCESS + factory.constant_bytes + max(training, filling))
