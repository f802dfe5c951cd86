"""`engine new`, `validate` and `clone`: every spec they print is one they accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.spec.models import Kind
from tests.cli.conftest import Engine


@pytest.mark.parametrize("kind", Kind)
def test_a_new_spec_of_every_kind_is_valid(engine: Engine, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "spec.yaml"
    assert engine("new", kind, "-o", str(file)).code == 0
    assert engine("validate", str(file)).code == 0
    assert engine("new", kind, "-o", str(file)).code == 2, "an existing file is never overwritten"


def test_a_wrong_key_is_named_with_line_and_nearest_key(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(engine("new", "sft").out.replace("  lr:", "  learning_rat:", 1))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "learning_rat" in text)
    for command in ("validate", "launch"):
        result = engine(command, str(file))
        assert result.code == 2
        assert f"spec.yaml:{line}" in result.err and "learning_rat" in result.err and "lr" in result.err


def test_a_clone_is_the_same_spec(engine: Engine, filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "clone.yaml"
    assert engine("clone", "first", "-o", str(file)).code == 0
    hashes = [engine("show", name, "--json").json["spec_hash"] for name in ("first", "second")]
    assert hashes[0] != hashes[1]
    assert engine("new", "sft", "--from", str(file)).out == engine("new", "sft", "--from", "first").out


def test_validate_reads_hostfiles_too(engine: Engine, tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("worker-1 slots=8\nworker-2 slots=8\n")
    bad.write_text("worker-1 slots=8\nworker-1 slots=8\n")
    assert "16 slots" in engine("validate", str(good)).out
    result = engine("validate", str(bad), "--json")
    assert result.code == 2 and result.json[0]["valid"] is False and "bad:2" in result.json[0]["where"]
