"""Copies are found, whatever their order and number, and nothing else is taken for one."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput, RunFailed
from engine.rag.chunks import duplicates as module
from engine.rag.chunks.buckets import Buckets
from engine.rag.chunks.chunking import chunks_of
from engine.rag.chunks.duplicates import Duplicates, bands_of
from engine.rag.chunks.tokens import WordCounter
from engine.rag.records import Chunk, Document
from engine.spec.rag import Chunking

VOCABULARY = [f"w{number}" for number in range(3000)]


def _chunk(name: str, text: str) -> Chunk:
    return Chunk(name, "d", 0, len(text), text)


def _copies(texts: Iterable[str], near: float | None) -> list[str | None]:
    known = Duplicates(near)
    return [known.add(_chunk(str(number), text)) for number, text in enumerate(texts)]


def _words(draw: random.Random, count: int = 200) -> list[str]:
    return draw.choices(VOCABULARY, k=count)


def _jaccard(one: list[str], other: list[str]) -> float:
    """By strings, not hashes."""
    first, second = ({tuple(words[place : place + 5]) for place in range(len(words) - 4)} for words in (one, other))
    return len(first & second) / len(first | second)


def _changed(draw: random.Random, words: list[str], changes: int) -> list[str]:
    changed = list(words)
    for place in draw.sample(range(len(words)), changes):
        changed[place] = "other"
    return changed


@pytest.mark.parametrize(("near", "most_changes"), [(0.9, 4), (0.7, 12), (0.5, 20)])
def test_near_duplicates_are_those_that_brute_force_finds(near: float, most_changes: int) -> None:
    draw = random.Random(20261126)
    found = wanted = 0
    near_misses = 0
    for _ in range(120):
        original = _words(draw)
        copy = _changed(draw, original, draw.randint(0, most_changes))
        index = _jaccard(original, copy)
        answer = _copies([" ".join(original), " ".join(copy)], near)[1]
        assert answer is None or index >= near  # no false positive
        wanted += index >= near
        near_misses += near - 0.1 <= index < near
        found += answer is not None
    assert wanted > 40 and near_misses > 9  # the corpus tests something
    assert found / wanted >= 0.95


def test_every_pair_of_a_corpus_is_judged_as_by_brute_force() -> None:
    draw = random.Random(7)
    texts: list[list[str]] = []
    for _ in range(30):
        original = _words(draw, draw.randint(20, 120))
        texts += [_changed(draw, original, draw.randint(0, 3)) for _ in range(4)]
    draw.shuffle(texts)
    known = Duplicates(0.8)
    kept: list[int] = []
    missed = found = 0
    for number, words in enumerate(texts):
        near = {other for other in kept if _jaccard(words, texts[other]) >= 0.8}
        answer = known.add(_chunk(str(number), " ".join(words)))
        if answer is None:
            kept.append(number)
            missed += bool(near)
        else:
            assert int(answer) in near
            found += 1
    assert found > 25
    assert missed <= 0.05 * found


def test_the_first_stays_and_copies_of_copies_name_it() -> None:
    text = " ".join(VOCABULARY[:100])
    copy = text.replace("w50 ", "other ")
    assert _copies([text, text, copy, "something else entirely, of six", copy, text], 0.9) == [
        None,
        "0",
        "0",
        None,
        "0",
        "0",
    ]
    # A copy is not there to be copied: only what stayed is.
    assert _copies([copy, text, copy], 0.9) == [None, "0", "0"]


def test_equal_texts_are_found_whatever_their_case_and_white_space() -> None:
    texts = [
        "To be, or not",
        "to  be,\nOR not ",
        "to be or not",
        "Straße",
        "STRASSE",
        "",
        "\n",
        "日本",
        "日 本",
        "\ud800",
    ]
    assert _copies(texts, None) == [None, "0", None, None, "3", None, "5", None, "7", None]
    assert _copies(texts, 0.9) == _copies(texts, None)


def test_short_texts_are_only_compared_whole() -> None:
    assert _copies(["one two three four", "one two three for"], 0.1) == [None, None]
    assert _copies(["one two three four five", "one two three four five six"], 0.5) == [None, "0"]


def test_scripts_without_spaces_have_a_word_a_character() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(200))
    assert _copies([text, text.replace(text[7], "的")], 0.9) == [None, "0"]
    assert _copies([text, text[100:] + text[:100:-1]], 0.9) == [None, None]


def test_neighbours_that_overlap_are_no_copies_unless_they_nearly_are() -> None:
    draw = random.Random(1)
    document = Document("d", " ".join(_words(draw, 2000)), "f")
    for overlap, near, copies in ((40, 0.9, False), (150, 0.9, False), (40, 0.1, True)):
        chunks = chunks_of(document, Chunking(by="tokens", tokens=200, overlap=overlap), WordCounter())
        known = Duplicates(near)
        assert any([known.add(chunk) is not None for chunk in chunks]) is copies
        assert len(chunks) > 9


def test_a_corpus_that_is_all_alike_costs_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    real = module._Near._is_copy

    def counted(*arguments: object) -> bool:
        nonlocal compared
        compared += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module._Near, "_is_copy", counted)
    template = _words(random.Random(3), 120)
    texts = [" ".join([*template, *(f"{number}{end}" for end in "abcd")]) for number in range(150)]
    assert not any(_copies(texts, 0.95))
    assert compared > 20 * len(texts)
    compared = 0
    monkeypatch.setattr(module, "_MOST_CANDIDATES", 8)
    assert not any(_copies(texts, 0.95))
    assert 0 < compared <= 8 * len(texts)


def test_the_same_in_every_process_and_a_threshold_of_one_means_equal_sets() -> None:
    # Fixed: another choice of hashes or bands is another build.
    assert [bands_of(near) for near in (0.9, 0.7, 0.5, 1.0, 0.01)] == [(10, 9), (17, 4), (17, 2), (1, 96), (96, 1)]
    assert Duplicates(0.9).recall == pytest.approx(1 - (1 - 0.9**9) ** 10)
    assert Duplicates(None).recall == 1.0
    text = " ".join(VOCABULARY[:30])
    assert _copies([text, text + " more", text.upper()], 1.0) == [None, None, "0"]
    with pytest.raises(InvalidInput, match="every chunk would be a copy"):
        Duplicates(0.0)


def test_a_full_disk_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Duplicates(0.9)
    monkeypatch.setattr(module.os, "pwrite", lambda *_: 3)
    with pytest.raises(RunFailed, match="No space left"):
        known.add(_chunk("a", "one two three four five six"))


@settings(max_examples=15)
@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3) | st.integers(0, 3).map(lambda number: number << 40)))
def test_buckets_hold_what_a_dictionary_does(keys: list[int]) -> None:
    table = Buckets(most=2)
    wanted: dict[int, list[int]] = {}
    many = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1500)]  # the table doubles twice
    for row, key in enumerate([*keys, *many, *keys, *keys]):
        table.add([key], row)
        rows = wanted.setdefault(key or 1, [])
        if len(rows) < 2:
            rows.append(row)
    for key, rows in wanted.items():
        assert sorted(table.find([key])) == rows
