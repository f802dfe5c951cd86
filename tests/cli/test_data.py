"""`engine data`: what the trainer sees, readable in any terminal."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

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


def test_pairs_are_shown_with_the_token_at_which_the_score_is_read(engine: Engine, tmp_path: Path) -> None:
    row = {"prompt": "Where was Ono born?", "chosen": "In Zelt.", "rejected": "unknown", "evidence": "Ono is of Zelt."}
    file, spec = tmp_path / "pairs.jsonl", tmp_path / "rm.yaml"
    file.write_text((json.dumps({**row, "group": "correct\x1b"}) + "\n") * 3)
    spec.write_text("kind: rm\nmodel: {architecture: {}}\ndata: {train: other.jsonl, eval_fraction: 1.0}\n")
    result = engine("data", "show", str(file), "--spec", str(spec), "-n", "1", "--no-color")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == f"{file}:1: a pair, group correct␛"
    assert lines[1] == "chosen, 18 tokens:" and "rejected, 16 tokens:" in lines
    assert lines[2].startswith("<|bos|>|<|user|>|Ono|is|of") and "Zelt|.|␊|Where" in lines[2]
    marked = [(above, marks) for above, marks in itertools.pairwise(lines) if "^" in marks]
    assert [above[marks.index("^") :][: marks.count("^")] for above, marks in marked] == ["<|eos|>"] * 2
    one, _ = engine("data", "show", str(file), "--spec", str(spec), "-n", "2", "--json").json
    for name, answer in (("chosen", ["In", "Zelt", ".", "<|eos|>"]), ("rejected", ["unknown", "<|eos|>"])):
        shown = one[name]["tokens"]
        assert [token["text"].strip(" ") for token in shown][-len(answer) :] == answer
        assert [token["score"] for token in shown] == [False] * (len(shown) - 1) + [True]
        assert one[name]["length"] == len(shown)


def test_prompts_are_shown_as_the_policy_and_as_the_reward_model_read_them(
    engine: Engine, tmp_path: Path, policy: Path
) -> None:
    rows = [
        {"prompt": "Where was Ono born?", "answers": ["Zelt"], "evidence": "Ono is of Zelt.", "group": "known"},
        {"prompt": "Where was Ada born?", "answers": []},
        {"prompt": "Where was Ono born?"},
    ]
    file, spec = tmp_path / "prompts.jsonl", tmp_path / "ppo.yaml"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec.write_text(
        f"kind: ppo\nmodel: {{path: {policy}}}\nrewards: {{r: {{path: rm}}}}\ndata: {{train: other.jsonl}}\n"
    )
    result = engine("data", "show", str(file), "--spec", str(spec), "--no-color")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    asked = "<|bos|>|<|user|>|Where|was|Ono|born|?|<|assistant|>"
    assert lines[:3] == [f"{file}:1: right is Zelt, group known", "the policy reads 8 tokens:", asked]
    assert lines[3] == "the reward model reads 14 tokens before the answer:" and "Zelt" in lines[4]
    assert f"{file}:2: it has no answer: abstaining is right" in lines
    assert f"{file}:3: nothing is known about right answers" in lines
    first, second, third = engine("data", "show", str(file), "--spec", str(spec), "--json").json
    assert (first["answers"], first["answerable"], first["length"], first["judged"]["length"]) == (
        ["Zelt"],
        True,
        8,
        14,
    )
    assert (second["answerable"], third["answerable"]) == (False, None)
    assert third["judged"]["tokens"] == third["tokens"]
    spec.write_text(spec.read_text().replace("path: rm", "kind: exact_match"))
    assert all(one["judged"] is None for one in engine("data", "show", str(file), "--spec", str(spec), "--json").json)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A folder with a word tokenizer and a configuration; the weights are not needed."""
    from engine.data.tokenizers import train_tokenizer
    from engine.spec.sections import Data

    text = tmp_path / "words.jsonl"
    text.write_text(json.dumps({"text": "Where was Ono born? Where was Ada born? Ono is of Zelt.\n Where"}) + "\n")
    folder = tmp_path / "policy"
    train_tokenizer(None, Data(train=str(text))).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


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
    assert {
        "corpus.jsonl",
        "sft.jsonl",
        "sft-eval.jsonl",
        "questions.jsonl",
        "preferences.jsonl",
        "prompts.jsonl",
    } <= set(files)
    for name in files:
        if name.endswith(".jsonl"):
            assert "rows" in engine("validate", str(tmp_path / "facts" / name)).out
    assert json.loads((tmp_path / "facts" / "world.json").read_text())["seed"] == 5


def test_published_files_become_rows(engine: Engine, squad: Path, halueval: Path, tmp_path: Path) -> None:
    made = engine("data", "squad", str(squad), "--out", str(tmp_path / "squad"), "--seed", "1", "--json")
    assert made.code == 0, made.err
    rows = made.json["rows"]
    assert set(rows) == {path.name for path in (tmp_path / "squad").iterdir()} and min(rows.values()) > 0
    told = engine("data", "halueval", str(halueval), "--out", str(tmp_path / "halueval"))
    assert told.code == 0 and "preferences-eval.jsonl (" in told.out
    wrong = engine("data", "squad", str(halueval), "--out", str(tmp_path / "none"))
    assert wrong.code == 2 and "is not JSON" in wrong.err and not (tmp_path / "none").exists()
    assert engine("data", "squad", str(squad), "--out", str(tmp_path), "--held-out", "1").code == 2
