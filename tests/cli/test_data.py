"""`engine data`: what the trainer sees, readable in any terminal."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Engine


def test_loss_tokens_are_marked_below_them_without_colour(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "Where was Ono born?", "response": "In Zelt."}) + "\n")
    result = engine("data", "show", str(file), "--no-color")
    assert result.code == 0, result.err
    head, tokens, marks = result.out.splitlines()[:3]
    assert head == f"{file}:1: 12 tokens, 4 with loss"
    assert tokens == "<|bos|>|<|user|>|Where|was|Ono|born|?|<|assistant|>|In|Zelt|.|<|eos|>"
    assert marks.strip() == "^^ ^^^^ ^ ^^^^^^^" and marks.index("^") == tokens.index("In")


def test_json_has_every_token_and_the_spec_decides_how_it_is_read(engine: Engine, tmp_path: Path) -> None:
    file, spec = tmp_path / "rows.jsonl", tmp_path / "spec.yaml"
    file.write_text('{"ask": "Who?", "say": "Ono"}\n' * 5)
    assert engine("data", "show", str(file)).code == 2
    spec.write_text(
        "kind: sft\nmodel: {architecture: {}, tokenizer: {kind: bpe}}\n"
        "data: {train: other.jsonl, prompt_key: ask, response_key: say, max_length: 6}\n"
    )
    shown = engine("data", "show", str(file), "-n", "2", "--spec", str(spec), "--json").json
    assert [one["place"] for one in shown] == [f"{file}:1", f"{file}:2"]
    assert "".join(token["text"] for token in shown[0]["tokens"]).startswith("<|bos|><|user|>Who?<|assistant|>")
    assert shown[0]["length"] == len(shown[0]["tokens"]) <= 6


def test_what_the_data_says_is_never_obeyed_and_what_is_broken_is_named(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": "red \x1b[31m alert\nnext"}) + "\n")
    out = engine("data", "show", str(file), "--no-color").out
    assert "\x1b" not in out and "␛" in out and "␊" in out
    with file.open("a") as rows:
        rows.write("{\n")
    result = engine("data", "show", str(file))
    assert result.code == 2 and f"{file}:2" in result.err and len(result.err.strip().splitlines()) == 1
    assert engine("data", "show", str(tmp_path / "missing.jsonl")).code == 2


def test_the_fact_world_is_written_and_valid(engine: Engine, tmp_path: Path) -> None:
    files = engine("data", "facts", "--out", str(tmp_path / "facts"), "--seed", "5", "--json").json["files"]
    assert {"corpus.jsonl", "sft.jsonl", "sft-eval.jsonl", "questions.jsonl", "preferences.jsonl"} <= set(files)
    for name in files:
        if name.endswith(".jsonl"):
            assert "rows" in engine("validate", str(tmp_path / "facts" / name)).out
    assert json.loads((tmp_path / "facts" / "world.json").read_text())["seed"] == 5
