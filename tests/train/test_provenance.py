"""An exported folder tells what made it: checked against the files themselves, and against git."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch

from engine.generate.models import load_tokenizer
from engine.job import provenance
from engine.job.durable import folder_hash
from engine.job.provenance import FILE, Origin
from engine.spec.canonical import spec_hash
from engine.spec.loading import load_spec
from engine.spec.models import RmSpec, SftSpec
from engine.spec.resolve import with_absolute_paths
from engine.train.tokenizers import described, fingerprint
from tests.train.conftest import MakeSpec


def made(spec_file: Path, run_dir: Path, tokenizer: Any, *, kind: str = "model", attempt: int = 1) -> dict[str, Any]:
    """The document that an export of this spec would carry, as it is read back."""
    spec = with_absolute_paths(load_spec(spec_file), spec_file.parent)
    assert isinstance(spec, SftSpec | RmSpec)
    run_dir.mkdir(parents=True, exist_ok=True)
    Origin(spec, run_dir, attempt).of(kind, 5, tokenizer=described(tokenizer)).write(run_dir)
    document: dict[str, Any] = json.loads((run_dir / FILE).read_text())
    return document


def test_it_holds_the_spec_the_hash_of_every_file_and_the_software(
    make_spec: MakeSpec, data: Path, causal: Path, tmp_path: Path
) -> None:
    file, tokenizer = make_spec(model={"path": str(causal)}), load_tokenizer(causal)
    document = made(file, tmp_path / "sft-0001", tokenizer, attempt=2)
    spec = load_spec(file)
    assert document["spec_hash"] == spec_hash(spec) and SftSpec.model_validate(document["spec"]) == spec
    assert [document[key] for key in ("kind", "run", "attempt", "step")] == ["model", "sft-0001", 2, 5]
    assert document["data"] == {
        f"data.{name}": {
            "path": str(data / f"{name}.jsonl"),
            "sha256": hashlib.sha256((data / f"{name}.jsonl").read_bytes()).hexdigest(),
        }
        for name in ("train", "eval")
    }
    assert document["parents"] == {"model.path": {"path": str(causal), "sha256": folder_hash(causal)}}
    assert document["libraries"]["torch"] == torch.__version__
    assert document["tokenizer"] == {"sha256": fingerprint(tokenizer), "tokens": len(tokenizer)}
    again = made(file, tmp_path / "again/sft-0001", tokenizer, attempt=2)
    assert again == document


def test_a_parent_that_plumbline_made_is_named_with_its_own_provenance(
    make_spec: MakeSpec, make_rm_spec: MakeSpec, causal: Path, tmp_path: Path
) -> None:
    parent, tokenizer = tmp_path / "parent", load_tokenizer(causal)
    shutil.copytree(causal, parent)
    first = made(make_spec(), parent, tokenizer)
    document = made(make_rm_spec(model={"path": str(parent)}), tmp_path / "rm", tokenizer, kind="reward_model")
    assert document["parents"] == {
        "model.path": {
            "path": str(parent),
            "sha256": folder_hash(parent),
            **{key: first[key] for key in ("kind", "experiment", "run", "step", "spec_hash")},
            "provenance": hashlib.sha256((parent / FILE).read_bytes()).hexdigest(),
        }
    }


def test_what_cannot_be_read_is_told_and_fails_nothing(make_spec: MakeSpec, causal: Path, tmp_path: Path) -> None:
    spec = make_spec(data_settings={"train": str(tmp_path / "gone.jsonl")}, model={"path": str(causal)})
    told = made(spec, tmp_path / "run", load_tokenizer(causal))["data"]
    assert told["data.train"]["sha256"] is None and told["data.eval"]["sha256"]
    assert told["data.train"]["problem"] == "cannot be read: No such file or directory"


def test_the_commit_is_told_of_a_checkout_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@y")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert provenance._commit(tmp_path) == {}
    git("init", "-q")
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/loop.py").write_text("1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("not the engine's\n")
    assert provenance._commit(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "engine/loop.py").write_text("2\n")
    assert provenance._commit(tmp_path) == {"commit": commit, "changed": True}
