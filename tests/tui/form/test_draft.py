"""A draft holds what differs, as `engine launch --set` says it, and says what is wrong with it by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InvalidInput
from tui.form.draft import Draft, SpecDraft, of_kind, of_recipe
from tui.form.fields import Field
from tui.form.pipeline_draft import PipelineDraft

SFT = """
kind: sft
name: facts
model: {architecture: {layers: 2}, tokenizer: {}}
data: {train: facts.jsonl}
train: {steps: 100, lr: 0.001}
"""
PIPELINE = """
pipeline: two
stages:
  sft: {spec: sft.yaml}
  again: {spec: sft.yaml, after: [sft], set: {train.steps: 5}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe and a pipeline, in which one works."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft.yaml").write_text(SFT)
    (tmp_path / "two.yaml").write_text(PIPELINE)
    return tmp_path


def draft_of(name: str) -> Draft:
    """Return the draft of a file."""
    return of_recipe(Path(name), [None, Path("hosts")])


def field(draft: Draft, key: str) -> Field:
    """Return one of its fields."""
    found = draft.field(key)
    assert found is not None, key
    return found


def put(draft: Draft, **values: str) -> None:
    """Type values into fields; `__` in place of a dot."""
    for key, text in values.items():
        draft.set(field(draft, key.replace("__", ".")), text)


def test_only_what_differs_becomes_a_setting(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    put(draft, train__lr="2e-3", train__steps="100", data__eval="held out.jsonl")
    assert draft.request().overrides == ("train.lr=2e-3", "data.eval=held out.jsonl")
    assert draft.request().command() == "engine launch sft.yaml --set train.lr=2e-3 --set 'data.eval=held out.jsonl'"
    put(draft, train__lr="1e-3")
    draft.reset(field(draft, "data.eval"))
    assert draft.request().overrides == () and draft.changes == 0


def test_the_launch_has_fields_of_its_own(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    for key, text in {"--hostfile": "hosts", "--name": "mine", "--tag": "a, b", "--priority": "-1"}.items():
        draft.set(field(draft, key), text)
    request = draft.request()
    assert (request.hostfile, request.name, request.tags, request.priority) == (Path("hosts"), "mine", ("a", "b"), -1)
    assert request.command() == "engine launch sft.yaml --hostfile hosts --name mine --tag a --tag b --priority -1"
    draft.set(field(draft, "--priority"), "soon")
    assert "must be a whole number" in draft.launch.faults()["--priority"]


def test_a_draft_from_nothing_says_its_kind_and_what_is_missing(folder: Path) -> None:
    draft = of_kind("sft", [None])
    assert field(draft, "data.train").is_missing and not field(draft, "train.lr").is_missing
    assert set(draft.faults({})) == {"model", "data.train"}
    put(draft, data__train="facts.jsonl", model__path="/m")
    assert draft.faults(draft.settings) == {} and not field(draft, "data.train").is_missing
    assert draft.request().command() == "engine launch --kind sft --set data.train=facts.jsonl --set model.path=/m"
    assert draft.spec_for("")[0].data.train == str(folder / "facts.jsonl")  # type: ignore[union-attr]


def test_what_is_forced_and_the_memory_of_a_gpu_stand_in_the_command(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    draft.set(field(draft, "--force"), "true")
    draft.set(field(draft, "--gpu-memory"), "80GB")
    assert draft.request().command() == "engine launch sft.yaml --gpu-memory 80GB --force" and draft.changes == 2
    draft.set(field(draft, "--gpu-memory"), "lots")
    assert "no amount of memory" in draft.launch.faults()["--gpu-memory"]
    draft.reset(field(draft, "--force"))
    assert not draft.request().force


def test_faults_are_of_the_fields_that_they_are_of(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    put(draft, train__lr="-1", train__batch_size="many", data__train="[a")
    faults = draft.faults(draft.settings)
    assert "train.lr must be a number (above 0); it is -1." in faults["train.lr"]
    assert "whole number" in faults["train.batch_size"]
    assert field(draft, "train.batch_size").value == "many"
    put(draft, train__lr="1", train__batch_size="4", train__zero_stage="0", train__offload_optimizer="true")
    assert "needs zero_stage 1, 2 or 3" in " ".join(draft.faults(draft.settings).values())


def test_text_that_is_no_yaml_is_a_fault_of_its_field_and_stands_there(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    put(draft, data__train="x")
    draft.settings["train.lr"] = "[1,"
    draft._fields = None
    assert "not valid YAML" in draft.faults(draft.settings)["train.lr"]
    assert field(draft, "train.lr").value == "[1,"


def test_sections_by_name_typed_wrong_say_what_is_wrong_with_them(folder: Path) -> None:
    draft = of_kind("ppo", [None])
    put(draft, model__path="base", data__train="prompts.jsonl")
    wrong = {
        "{rule: {kind: exact_match}": "is not valid YAML",
        "exact_match": 'it is "exact_match". For example: rewards={reward: {path: models/reward}}.',
    }
    for typed, told in wrong.items():
        put(draft, rewards=typed)
        assert told in draft.faults(draft.settings)["rewards"]
        draft.reset(field(draft, "rewards"))
    put(draft, rewards="{rule: {kind: exact_match}}")
    assert not draft.faults(draft.settings)


def test_an_edit_can_be_taken_back(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    put(draft, train__lr="2e-3")
    take_back = draft.remember()
    put(draft, train__lr="5", train__steps="7")
    draft.set(field(draft, "--name"), "x")
    take_back()
    assert draft.request().overrides == ("train.lr=2e-3",) and draft.request().name == ""


def test_a_setting_below_a_section_that_was_set_stays_although_it_is_what_it_was(folder: Path) -> None:
    draft = draft_of("sft.yaml")
    put(draft, model__architecture="{layers: 3}", model__architecture__layers="2")
    assert draft.request().overrides == ("model.architecture={layers: 3}", "model.architecture.layers=2")
    draft.reset(field(draft, "model.architecture"))
    assert draft.request().overrides == ()


def test_a_pipeline_has_the_fields_of_its_stages_and_which_are_launched(folder: Path) -> None:
    draft = draft_of("two.yaml")
    assert isinstance(draft, PipelineDraft)
    assert field(draft, "again").note == "sft, after sft" and field(draft, "again.train.steps").value == 5
    put(draft, sft__train__lr="3e-3", again__train__steps="6")
    draft.set(field(draft, "--skip sft"), "false")
    assert draft.request().command() == (
        "engine launch two.yaml --set sft.train.lr=3e-3 --set again.train.steps=6 --skip sft"
    )
    assert draft.faults(draft.settings) == {} and "not launched" in field(draft, "sft").note
    put(draft, again__train__steps="no")
    assert "whole number" in draft.faults(draft.settings)["again.train.steps"]
    draft.reset(field(draft, "--skip sft"))
    assert draft.request().skip == ()


def test_what_is_saved_is_read_as_the_same_with_paths_from_its_own_folder(folder: Path) -> None:
    from engine.spec.loading import load_spec
    from engine.spec.presets import write_recipe
    from engine.spec.resolve import with_absolute_paths

    draft = draft_of("sft.yaml")
    assert isinstance(draft, SpecDraft)
    put(draft, train__lr="2e-3")
    spec, _ = draft.spec_for("")
    file = folder / "recipes" / "mine.yaml"
    write_recipe(spec, file)
    assert "train: ../facts.jsonl" in file.read_text()
    assert with_absolute_paths(load_spec(file), file.parent) == spec
    with pytest.raises(InvalidInput, match="exists already"):
        write_recipe(spec, file)
    write_recipe(spec, file, overwrite=True)
