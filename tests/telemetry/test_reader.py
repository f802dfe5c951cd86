"""What is read of a fact file, whatever stands in it."""

from __future__ import annotations

import math
import os
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import RunFailed
from engine.telemetry.reader import Chunk, Malformed, decode, read_chunk
from engine.telemetry.records import EventRecord, Level, MetricsRecord, Record, SampleRecord, StartRecord, encode

# All characters, controls and unpaired surrogates too; without the lower ones no two of them become one character.
texts = st.text(st.characters(exclude_categories=()), max_size=20).map(
    lambda text: "".join(character for character in text if not "\udc00" <= character <= "\udfff")
)
counts = st.integers(0, 2**63 - 1)
times = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.dictionaries(texts, st.floats(), max_size=4)
documents = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | times | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
records = st.one_of(
    st.builds(StartRecord, times, counts, counts, counts),
    st.builds(MetricsRecord, times, counts, counts, numbers),
    st.builds(EventRecord, times, counts, texts, texts, st.sampled_from(Level), st.none() | counts, documents),
    st.builds(SampleRecord, times, counts, counts, texts, texts, st.none() | texts, numbers),
)


def same(left: Record, right: Record) -> bool:
    """Whether two records are equal, NaN counting as equal to NaN."""
    return type(left) is type(right) and all(
        same_value(getattr(left, name), getattr(right, name)) for name in left.__slots__
    )


def same_value(left: Any, right: Any) -> bool:
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same_value(left[key], right[key]) for key in left)
    if isinstance(left, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right) and type(left) is type(right)


def read_all(path: Path, limit: int) -> tuple[list[Record], list[str]]:
    """Read a file to its end in pieces."""
    found: list[Record] = []
    problems: list[str] = []
    offset = 0
    while (chunk := read_chunk(path, offset, limit=limit)).offset != offset:
        found += chunk.records
        problems += chunk.problems
        offset = chunk.offset
    return found, problems


@given(records)
def test_what_was_encoded_is_decoded(record: Record) -> None:
    line = encode(record)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert same(decode(line[:-1]), record)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.lists(records, max_size=12), data=st.data())
def test_any_growth_and_any_piece_size_yield_each_record_once(tmp_path: Path, kept: list[Record], data: Any) -> None:
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    lines = [encode(record) for record in kept]
    whole = b"".join(lines)
    limit = data.draw(st.integers(max(map(len, lines), default=1), max(len(whole), 1)))
    seen, offset = 0, 0
    found: list[Record] = []
    for end in sorted([*data.draw(st.lists(st.integers(0, len(whole)), max_size=6)), len(whole)]):
        with path.open("ab") as file:
            file.write(whole[seen:end])
        seen = end
        while (chunk := read_chunk(path, offset, limit=limit)).offset != offset:
            assert not chunk.problems and not chunk.truncated
            found += chunk.records
            offset = chunk.offset
            assert whole[offset - 1 : offset] == b"\n"
    assert offset == len(whole) and len(found) == len(kept) and all(map(same, found, kept))


GOOD = StartRecord(1.0, 1, 0, 10)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_rubbish_between_records_hides_none_of_them(tmp_path: Path, rubbish: list[bytes]) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(part + b"\n" + encode(GOOD) for part in rubbish))
    found, problems = read_all(path, 1 << 16)
    assert found == [GOOD] * len(rubbish)
    assert all(len(problem) < 300 and problem.isprintable() for problem in problems)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "is not JSON"),
        (b"\0" * 50, "is not JSON"),
        (b'{"kind":"metrics"', "is not JSON"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b"9" * 10_000, "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", "has the unknown kind None"),
        (b'{"kind":["start"]}', "has the unknown kind list"),
        (b'{"kind":"' + b"x" * 1000 + b'"}', "has the unknown kind 'xxx"),
        (b'{"kind":"start"}', "has no time"),
        (b'{"kind":"start","time":NaN,"attempt":1,"resumed_step":0,"total_steps":1}', "is not JSON"),
        (b'{"kind":"start","time":1e999,"attempt":1,"resumed_step":0,"total_steps":1}', "has a wrong time: inf"),
        (b'{"kind":"start","time":1,"attempt":true,"resumed_step":0,"total_steps":1}', "has a wrong attempt: True"),
        (b'{"kind":"start","time":1,"attempt":-1,"resumed_step":0,"total_steps":1}', "has a wrong attempt"),
        (b'{"kind":"metrics","time":1,"attempt":1,"step":9223372036854775808,"metrics":{}}', "has a wrong step"),
        (b'{"kind":"metrics","time":1,"attempt":1,"step":1,"metrics":{"a":"NAN"}}', "has a wrong metrics"),
        (b'{"kind":"metrics","time":1,"attempt":1,"step":1,"metrics":{"a":1' + b"0" * 400 + b"}}", "wrong metrics"),
        (b'{"kind":"event","time":1,"attempt":1,"event":"e","message":"m","level":"loud"}', "wrong level: 'loud'"),
        (b'{"kind":"event","time":1,"attempt":1,"event":"e","message":7}', "has a wrong message: 7"),
        (
            b'{"kind":"event","time":1,"attempt":1,"event":"e","message":"m","data":{"a":%s1%s}}'
            % (b"[" * 200, b"]" * 200),
            "has a wrong data: dict",
        ),
        (b'{"kind":"sample","time":1,"attempt":1,"step":1,"prompt":"p","response":"r","scores":[]}', "wrong scores"),
    ],
)
def test_a_broken_line_says_what_is_wrong(line: bytes, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(line)
    assert why in str(caught.value) and len(str(caught.value)) < 200


def test_unknown_keys_are_ignored_and_data_prints_as_json_again() -> None:
    line = b'{"kind":"event","time":1,"attempt":1,"event":"e","message":"m","data":{"a":[1e999]},"colour":"red"}'
    assert decode(line) == EventRecord(1.0, 1, "e", "m", data={"a": ["inf"]})


def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(encode(GOOD))
    assert read_chunk(path, 10_000) == Chunk([GOOD], len(encode(GOOD)), (), True)


def test_a_missing_file_is_empty_and_an_unreadable_one_is_one_sentence(tmp_path: Path) -> None:
    assert read_chunk(tmp_path / "metrics.jsonl", 7) == Chunk((), 7, (), False)
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(RunFailed):
            read_chunk(path, 0)


def test_a_line_beyond_the_limit_is_passed_over_once_its_end_is_there(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 1000)
    assert read_chunk(path, 0, limit=100) == Chunk((), 0, (), False)
    with path.open("ab") as file:
        file.write(b"\n" + encode(GOOD))
    found, problems = read_all(path, 100)
    assert found == [GOOD] and len(problems) == 1 and "longer than 100 bytes" in problems[0]


def test_problems_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f"{character}\n" for character in string.ascii_letters))
    chunk = read_chunk(path, 0)
    assert len(chunk.problems) == 21 and chunk.problems[-1] == "32 more lines cannot be read."
