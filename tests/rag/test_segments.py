"""What a segment was given it gives back, whatever stands in the texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rag.lines import Lines, LineWriter
from engine.rag.records import Chunk, Document
from engine.rag.segments import Kept, Segment, SegmentWriter

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)  # reading leaves no surrogates
METADATA = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.floats(allow_nan=False), st.booleans()), max_size=3)


@settings(max_examples=40)
@given(documents=st.lists(st.tuples(TEXT, METADATA, st.lists(TEXT, max_size=3)), max_size=4))
def test_documents_and_chunks_come_back_as_they_were(
    documents: list[tuple[str, dict[str, str | int | float | bool], list[str]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("segment") / "s"
    kept, chunks = [], []
    with SegmentWriter(folder) as writer:
        for number, (title, metadata, texts) in enumerate(documents):
            document = Document(f"d{number}", title, "file:1", title, metadata)
            kept.append(Kept.of(document))
            writer.begin(kept[-1])
            for text in texts:
                chunks.append(Chunk(f"c{len(chunks)}", document.id, 0, len(text), text, title))
                writer.add(chunks[-1])
    segment = Segment(folder)
    assert [segment.document(number) for number in range(len(segment.documents))] == kept
    assert [segment.chunk(row) for row in range(len(segment))] == chunks
    assert list(segment.texts()) == [chunk.text for chunk in chunks] and segment.vectors is None


def test_a_line_that_is_damaged_is_named(tmp_path: Path) -> None:
    with LineWriter(tmp_path / "a.jsonl") as lines:
        for number in range(3):
            lines.append({"number": number})
    content = bytearray((tmp_path / "a.jsonl").read_bytes())
    content[content.index(b"1") - 1] = 0xFF
    (tmp_path / "a.jsonl").write_bytes(content)
    damaged = Lines(tmp_path / "a.jsonl")
    assert damaged[0] == {"number": 0} and damaged[2] == {"number": 2}
    with pytest.raises(InvalidInput, match="line 2 is damaged"):
        damaged[1]
