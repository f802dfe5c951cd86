"""References stand for the outputs of other experiments until they are looked up; paths stay paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InvalidInput, Refused
from engine.spec.canonical import to_yaml
from engine.spec.loading import parse_spec
from engine.spec.models import AnySpec
from engine.spec.references import Reference, references_of, require_none, with_paths
from engine.spec.resolve import input_paths, paths_by_key, with_absolute_paths


def rm_spec(path: str, train: str = "pairs.jsonl") -> AnySpec:
    return parse_spec(f"kind: rm\nmodel: {{path: '{path}'}}\ndata: {{train: '{train}'}}\n")


@pytest.mark.parametrize(
    ("text", "name", "output", "below"),
    [
        ("${facts-sft.model}", "facts-sft", "model", ""),
        ("${llama-3.1-8b.v2.reward_model}", "llama-3.1-8b.v2", "reward_model", ""),
        ("${sft-0012.run}/tokenizer/x.json", "sft-0012", "run", "tokenizer/x.json"),
        ("${a name with spaces.artifact}/", "a name with spaces", "artifact", ""),
    ],
)
def test_a_reference_names_an_experiment_and_its_output(text: str, name: str, output: str, below: str) -> None:
    found = references_of(rm_spec(text))
    assert found == {"model.path": Reference(text, name, output, below)}
    assert references_of(rm_spec(found["model.path"].of("sft-0012")))["model.path"].name == "sft-0012"
    assert found["model.path"].of(name) == text.removesuffix("/")


@pytest.mark.parametrize(
    "text", ["${facts-sft}", "${HOME}/models", "${.model}", "${a.model", "${a.model}x", "${a.b}/../c", "${a.Model}"]
)
def test_what_only_looks_like_a_reference_is_told_with_its_key(text: str) -> None:
    with pytest.raises(InvalidInput, match="no reference") as caught:
        references_of(rm_spec(text))
    assert caught.value.message.startswith("model.path is ${")


def test_references_stay_while_paths_become_absolute_and_are_no_inputs_of_a_node() -> None:
    spec = with_absolute_paths(rm_spec("${facts-sft.model}"), Path("/x"))
    assert paths_by_key(spec) == {"model.path": "${facts-sft.model}", "data.train": "/x/pairs.jsonl"}
    assert input_paths(spec) == [Path("/x/pairs.jsonl")]
    assert parse_spec(to_yaml(spec)) == spec
    done = with_paths(spec, {"${facts-sft.model}": "~/work/export"})
    assert input_paths(done) == [Path("~/work/export"), Path("/x/pairs.jsonl")]
    assert paths_by_key(with_absolute_paths(done, Path("/y"), but=["~/work/export"])) == paths_by_key(done)


def test_every_path_has_its_key_in_lists_and_maps_too() -> None:
    text = """
    kind: ppo
    model: {path: p}
    rewards: {faithful: {path: '${facts-rm.reward_model}'}, known: {kind: exact_match}}
    data: {train: p}
    ptx: {data: {train: t}}
    """
    assert paths_by_key(parse_spec(text)) == {
        "model.path": "p",
        "rewards.faithful.path": "${facts-rm.reward_model}",
        "data.train": "p",
        "ptx.data.train": "t",
    }
    corpus = parse_spec("kind: sft\nmodel: {architecture: {}, tokenizer: {corpus: [a, b]}}\ndata: {train: t}\n")
    assert list(paths_by_key(corpus)) == ["model.tokenizer.corpus[0]", "model.tokenizer.corpus[1]", "data.train"]


def test_a_job_without_a_database_says_what_to_do() -> None:
    require_none(rm_spec("models/sft"), "rm.yaml")
    with pytest.raises(Refused) as caught:
        require_none(rm_spec("${facts-sft.model}"), "rm.yaml")
    assert "--set model.path=" in str(caught.value) and caught.value.where == "rm.yaml"
