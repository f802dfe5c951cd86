"""Every path of a spec is found by its mark, whatever the kind, and becomes absolute."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from engine.errors import InvalidInput
from engine.spec.canonical import diff, flatten
from engine.spec.loading import parse_spec
from engine.spec.models import AnySpec, Kind
from engine.spec.resolve import input_paths, with_absolute_paths
from engine.spec.template import new_spec
from tests.spec.strategies import PATIENT, specs

SPEC = """
kind: sft
model: {architecture: {}, tokenizer: {corpus: [a.txt, /b.txt]}}
data: {train: ../up/train.jsonl, eval: ~/eval.jsonl, template: t.jinja, text_key: text}
"""


def test_relative_paths_are_made_absolute_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    folder = tmp_path / "recipes"
    folder.mkdir()
    spec = with_absolute_paths(parse_spec(SPEC), folder)
    assert [str(path) for path in input_paths(spec)] == [
        f"{folder}/a.txt",
        "/b.txt",
        f"{tmp_path}/up/train.jsonl",
        "/home/someone/eval.jsonl",
        f"{folder}/t.jinja",
    ]
    assert with_absolute_paths(spec, Path("/elsewhere")) == spec
    assert flatten(spec)["data.text_key"] == "text"


def test_the_parent_of_a_linked_folder_is_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "real" / "recipes").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "recipes")
    spec = with_absolute_paths(parse_spec(SPEC), tmp_path / "link")
    assert flatten(spec)["data.train"] == f"{tmp_path.resolve()}/real/up/train.jsonl"


def test_a_relative_folder_counts_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = with_absolute_paths(parse_spec(SPEC), Path("recipes"))
    assert flatten(spec)["data.template"] == f"{Path.cwd()}/recipes/t.jinja"


def test_a_home_of_nobody_is_told() -> None:
    with pytest.raises(InvalidInput, match="no home folder for ~nobody-here"):
        with_absolute_paths(parse_spec(SPEC.replace("~", "~nobody-here")), Path("/"))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Kind.SFT, ["model.path", "data.train"]),
        (Kind.RM, ["model.path", "data.train"]),
        (Kind.PPO, ["model.path", "rewards.reward.path", "data.train"]),
        (Kind.RAG, ["corpus.path"]),
        (Kind.EVAL, ["model.path", "questions"]),
    ],
)
def test_every_kind_has_its_paths_marked(kind: Kind, keys: list[str]) -> None:
    spec = parse_spec(new_spec(kind))
    assert list(diff(spec, with_absolute_paths(spec, Path("/x")))) == keys
    assert input_paths(spec) == [Path(flatten(spec)[key]) for key in keys]


def test_all_paths_of_ppo_are_found_wherever_they_stand() -> None:
    text = """
    kind: ppo
    model: {path: sft}
    rewards: {faithful: {path: rm}, other: {path: rm2, pattern: a/b}, brief: {kind: length}}
    data: {train: prompts.jsonl, eval: held.jsonl, template: t.jinja}
    reference: {path: ref}
    critic: {path: critic}
    ptx: {data: {train: ptx.jsonl, eval: ptx-eval.jsonl}}
    """
    spec = parse_spec(text)
    keys = ["model.path", "rewards.faithful.path", "rewards.other.path", "data.train", "data.eval", "data.template"]
    keys += ["reference.path", "critic.path", "ptx.data.train", "ptx.data.eval"]
    absolute = with_absolute_paths(spec, Path("/x"))
    assert {key: str(new) for key, (_, new) in diff(spec, absolute).items()} == {
        key: f"/x/{flatten(spec)[key]}" for key in keys
    }
    assert input_paths(spec) == [Path(flatten(spec)[key]) for key in keys]


@given(specs())
@PATIENT
def test_only_paths_change_and_only_once(spec: AnySpec) -> None:
    try:
        absolute = with_absolute_paths(spec, Path("/x"))
    except InvalidInput:
        return  # a path that begins with the home of nobody
    assert all(path.is_absolute() for path in input_paths(absolute))
    assert with_absolute_paths(absolute, Path("/y")) == absolute
    assert len(input_paths(absolute)) == len(set(input_paths(absolute)))
