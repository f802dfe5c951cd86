"""Copies of a run's files: byte for byte, whatever comes twice or not at all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dispatch.mirror import Mirror, OffsetMismatch
from engine.errors import RunFailed

LOG = "attempt-1/node-0/rank-0.log"


@given(st.binary(max_size=2000), st.integers(0, 2**32))
def test_a_copy_is_the_original_whatever_is_repeated_or_lost(
    tmp_path_factory: pytest.TempPathFactory, original: bytes, seed: int
) -> None:
    mirror = Mirror(tmp_path_factory.mktemp("mirror"))
    draw = random.Random(seed)
    while mirror.sizes(1, 0).get(LOG, 0) < len(original):
        # A sender that may have forgotten where it was, or run ahead over a lost piece.
        offset = draw.choice([mirror.sizes(1, 0).get(LOG, 0), draw.randrange(len(original))])
        piece = original[offset : offset + draw.randint(1, 300)]
        try:
            mirror.append(LOG, offset, piece)
        except OffsetMismatch as mismatch:
            assert mismatch.size == mirror.sizes(1, 0).get(LOG, 0) != offset
    path = mirror.folder / LOG
    assert (path.read_bytes() if original else b"") == original


def test_a_restarted_original_begins_the_copy_anew(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    mirror.append("metrics.jsonl", 0, b"one\ntwo\n")
    mirror.append("metrics.jsonl", 0, b"three\n", restarted=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"three\n"
    assert mirror.sizes(1, 0) == {"metrics.jsonl": 6}
    assert mirror.sizes(1, 1) == {}


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../../x",
        "attempt-1/node-0/../../../x",
        "attempt-1/node-0/.hidden",
        "attempt-1/node-0/a/b",
        "attempt-01/node-0/x",
        "spec.yaml",
        "evaluation/../x",
        "evaluation/a/b",
        "evaluation/.hidden",
        "attempt-1/node-0/rank-0.log\n",
        "",
    ],
)
def test_a_node_writes_nowhere_else_on_this_machine(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFailed, match="no run has"):
        Mirror(tmp_path / "mirror").append(name, 0, b"x")
    assert list(tmp_path.iterdir()) == []


def test_the_results_of_an_evaluation_are_copied_and_only_those_of_node_0(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path)
    mirror.append("evaluation/panel.json", 0, b"{}")
    assert mirror.sizes(1, 0) == {"evaluation/panel.json": 2} and mirror.sizes(1, 1) == {}


def test_a_link_in_the_place_of_a_copy_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "metrics.jsonl").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):
        Mirror(tmp_path / "mirror").append("metrics.jsonl", 0, b"x")
    assert (tmp_path / "outside").read_text() == ""


def test_copies_are_for_their_owner_alone(tmp_path: Path) -> None:
    Mirror(tmp_path).append(LOG, 0, b"x")
    assert (tmp_path / LOG).stat().st_mode & 0o077 == 0
    assert (tmp_path / LOG).parent.stat().st_mode & 0o077 == 0
