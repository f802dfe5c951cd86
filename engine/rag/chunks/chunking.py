"""Documents cut into chunks, the units of retrieval.

Every chunk is a stretch of its document's text, and has at most `tokens` tokens as the embedder will count them in the
chunk alone; special tokens come on top. Cut text has other tokens than the same words in their document, so each chunk
is counted again, and cut anew where it has too many.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import regex

from engine.rag.chunks import paragraphs
from engine.rag.chunks.fitting import excess_of, halved
from engine.rag.chunks.marks import AT_ONCE, PIECE, Marks, marks_of
from engine.rag.chunks.packing import Splitter, pack, units
from engine.rag.chunks.paragraphs import Span, visible
from engine.rag.chunks.tokens import TokenCounter
from engine.rag.records import Chunk, Document, Section
from engine.spec.rag import Chunking

_INVISIBLE = regex.compile(r"(?V1)[[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]--\s]")
_WITHIN = " > "  # between the headings of sections within each other
_AROUND_HEADINGS = "#=-*_ \t\r\n"


def chunks_of(document: Document, chunking: Chunking, counter: TokenCounter) -> list[Chunk]:
    """Return the chunks of one document, in order; see chunk_documents."""
    return list(chunk_documents([document], chunking, counter))


def chunk_documents(documents: Iterable[Document], chunking: Chunking, counter: TokenCounter) -> Iterator[Chunk]:
    """Yield the chunks of documents, in order.

    All visible characters of a document are in a chunk, and every chunk has some. Chunks begin later and later in
    their document. Neighbours share at most `overlap` tokens of the document. Only a single character that is more
    than `tokens` tokens makes a chunk with more.

    Ids are the first 32 digits of the SHA-256 of document, place and text, so the same for the same chunk in every
    build, and different within one if the ids of the documents are.
    """
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= AT_ONCE:
            yield from _chunks(batch, chunking, counter)
            batch, size = [], 0
    yield from _chunks(batch, chunking, counter)


def chunk_id(document: str, start: int, end: int, text: str) -> str:
    """Return the id of a chunk: 32 hexadecimal digits."""
    name = document.encode("utf-8", "surrogatepass")
    content = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"%d:%s%d:%d:%s" % (len(name), name, start, end, content)).hexdigest()[:32]


def _chunks(documents: Sequence[Document], chunking: Chunking, counter: TokenCounter) -> Iterator[Chunk]:
    texts = [document.text for document in documents]
    apart = [_apart(document) if chunking.by == "structure" else document.sections for document in documents]
    marks = marks_of(texts, counter)
    plans = [_plan(*planned, chunking, chunking.tokens) for planned in zip(texts, apart, marks, strict=True)]
    unsure = {
        number: plan
        for number, plan in enumerate(plans)
        # A whole text was counted as it is.
        if plan != [(0, len(texts[number]))] or len(texts[number]) > PIECE
    }
    too_large = {}
    for number, excess in excess_of(texts, unsure, counter, chunking.tokens).items():
        # A token or two more, where words were cut: the document anew and a little smaller, rather than chunks halved.
        common = max((more for more in excess if more <= max(1, chunking.tokens // 8)), default=0)
        tokens = max(chunking.tokens - common, 1)
        too_large[number] = _plan(texts[number], apart[number], marks[number], chunking, tokens)
    smaller = halved(texts, too_large, counter, chunking.tokens)
    for number, document in enumerate(documents):
        yield from _named(document, apart[number], smaller.get(number, plans[number]))


def _apart(document: Document) -> list[Section]:
    """Return the sections that chunks keep apart: one that has nothing but its heading belongs to the one within it."""
    apart: list[Section] = []
    begin: int | None = None
    for number, section in enumerate(document.sections, 1):
        start = section.start if begin is None else begin
        following = document.sections[number] if number < len(document.sections) else None
        if following and _is_bare(document.text, section, following):
            begin = start
        else:
            apart.append(Section(start, section.heading))
            begin = None
    return apart


def _is_bare(text: str, section: Section, following: Section) -> bool:
    name = section.heading.rpartition(_WITHIN)[2]
    if not following.heading.startswith(section.heading + _WITHIN):
        return False
    return text[section.start : following.start].strip(_AROUND_HEADINGS).casefold() in ("", name.casefold())


def _plan(text: str, sections: Sequence[Section], marks: Marks, chunking: Chunking, tokens: int) -> list[Span]:
    """Return the spans of the chunks, of at most so many tokens of the document."""
    splitters = _splitters(text, marks, chunking.by)
    if _INVISIBLE.search(text):  # white space, the splitters leave out themselves
        splitters = [_shown(text, splitter) for splitter in splitters]
    starts = [section.start for section in sections] if chunking.by == "structure" else []
    planned: list[Span] = []
    for start, end in pairwise(sorted({0, *starts, len(text)})):
        shown = visible(text, start, end)
        if shown:
            parts = units(shown, marks, tokens, splitters)
            planned += pack(parts, marks, tokens, chunking.overlap, even=chunking.by == "structure")
    return planned


def _splitters(text: str, marks: Marks, by: str) -> list[Splitter]:
    """Return what cuts a text, from the largest parts to the smallest."""
    smallest: list[Splitter] = [
        partial(paragraphs.words, text),
        lambda start, end: paragraphs.pieces(text, start, end, marks.within(start, end)),
        lambda start, end: paragraphs.graphemes(text, start, end, marks.within(start, end)),
        lambda start, end: paragraphs.characters(text, start, end, marks.within(start, end)),
    ]
    if by == "tokens":
        return smallest
    if by == "sentences":
        return [partial(paragraphs.sentence_spans, text), *smallest]
    largest: list[Splitter] = [partial(paragraphs.blocks, text), partial(paragraphs.lines, text)]
    return [*largest, partial(paragraphs.sentence_spans, text), *smallest]


def _shown(text: str, splitter: Splitter) -> Splitter:
    """Return a splitter that leaves out what does not show at the ends of each part."""
    return lambda start, end: (shown for part in splitter(start, end) if (shown := visible(text, *part)))


def _named(document: Document, sections: Sequence[Section], plan: Iterable[Span]) -> Iterator[Chunk]:
    starts = [section.start for section in sections]
    for start, end in plan:
        text = document.text[start:end]
        section = bisect_right(starts, start)
        heading = sections[section - 1].heading if section else ""
        yield Chunk(chunk_id(document.id, start, end, text), document.id, start, end, text, heading)
