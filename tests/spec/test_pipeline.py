"""A pipeline file is read with all its stages; what is wrong with any of them is told with its place, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.errors import InvalidInput
from engine.spec.loading import load_spec
from engine.spec.models import EvalSpec, Kind, PpoSpec, SftSpec
from engine.spec.pipeline import MAKES, Pipeline, Stage, deal, load_pipeline, names_pipeline
from engine.spec.references import references_of
from engine.spec.resolve import paths_by_key
from engine.spec.template import NEW_PIPELINE, new_spec

REPOSITORY = Path(__file__).parents[2]
SFT = "kind: sft\nmodel: {architecture: {}}\ndata: {train: train.jsonl}\n"
EVAL = "kind: eval\nmodel: {path: '${facts-sft.model}'}\nquestions: questions.jsonl\n"
PIPELINE = """\
pipeline: facts
stages:
  eval-rag:
    spec: specs/eval.yaml
    set:
      model.path: "${sft.model}"
      passages: index
      retrieval: {index: "${index.index}"}
      questions: own.jsonl
  sft:
    spec: specs/sft.yaml
  eval: {spec: specs/eval.yaml}
  index:
    spec: {kind: rag, corpus: {path: corpus.jsonl}}
  last: {spec: {kind: sim}, after: [eval, eval-rag]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "sft.yaml").write_text(SFT)
    (tmp_path / "specs" / "eval.yaml").write_text(EVAL)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    return tmp_path


def load(folder: Path, *overrides: str, text: str = PIPELINE, name: str | None = None) -> Pipeline:
    (folder / "pipeline.yaml").write_text(text)
    return load_pipeline(folder / "pipeline.yaml", overrides, name=name)


def refusal(folder: Path, text: str, *overrides: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        load(folder, *overrides, text=text)
    return caught.value


def by_name(pipeline: Pipeline) -> Mapping[str, Stage]:
    return {stage.name: stage for stage in pipeline.stages}


def test_stages_come_after_what_they_take_from_and_otherwise_in_the_order_of_the_file(folder: Path) -> None:
    pipeline = load(folder)
    assert [(stage.name, stage.parents) for stage in pipeline.stages] == [
        ("sft", ()),
        ("eval", ("sft",)),  # the spec names facts-sft, which is what the experiment of stage sft is called
        ("index", ()),
        ("eval-rag", ("sft", "index")),
        ("last", ("eval", "eval-rag")),
    ]
    assert pipeline.experiment_name("eval-rag") == "facts-eval-rag"
    spec = by_name(pipeline)["eval"].spec
    assert spec is not None and [each.name for each in references_of(spec).values()] == ["sft"]


def test_a_path_is_relative_to_the_file_in_which_it_stands(folder: Path) -> None:
    stages = by_name(load(folder, "eval.questions=given.jsonl"))
    paths = {name: paths_by_key(stage.spec) for name, stage in stages.items() if stage.spec is not None}
    assert paths["sft"]["data.train"] == f"{folder}/specs/train.jsonl"
    assert paths["eval-rag"]["questions"] == f"{folder}/own.jsonl"
    assert paths["eval"]["questions"] == f"{folder}/given.jsonl"
    assert paths["index"]["corpus.path"] == f"{folder}/corpus.jsonl"


def test_a_pipeline_by_another_name_is_the_same_one(folder: Path) -> None:
    again = load(folder, name="facts-7")
    assert again.experiment_name("sft") == "facts-7-sft"
    assert [stage.parents for stage in again.stages] == [stage.parents for stage in load(folder).stages]
    with pytest.raises(InvalidInput, match="pipeline must be at most 60 of"):
        load(folder, name="a name")


def test_settings_are_of_one_stage_or_of_all_that_have_the_key(folder: Path) -> None:
    pipeline = load(folder, "seed=3", "sft.train.steps=7", "limit=5", "eval-rag.seed=4", "name=x")
    specs = {name: stage.spec for name, stage in by_name(pipeline).items() if stage.spec is not None}
    assert {name: spec.seed for name, spec in specs.items()} == dict.fromkeys(specs, 3) | {"eval-rag": 4}
    sft, rag = specs["sft"], specs["eval-rag"]
    assert isinstance(sft, SftSpec) and sft.train.steps == 7
    assert isinstance(rag, EvalSpec) and rag.limit == 5

    # The name of a stage comes before a key of that name.
    assert deal(["ppo.kl_coef=1", "ppo.ppo.kl_coef=2"], {"ppo": Kind.PPO})["ppo"][1][0] == "ppo.kl_coef=2"
    assert deal(["ppo.kl_coef=1"], {"policy": Kind.PPO})["policy"][0][0] == "ppo.kl_coef=1"


@pytest.mark.parametrize(
    ("change", "line", "says", "hint"),
    [
        (("spec: specs/sft.yaml", "spec: gone.yaml"), 11, "stages.sft.spec is gone.yaml, and there is no", None),
        (("${sft.model}", "${sgt.model}"), 6, "there is no stage sgt", "Did you mean ${sft.model}?"),
        (("${sft.model}", "${other.model}"), 6, "there is no stage other", "experiment: other"),
        (("${sft.model}", "${sft.policy}"), 6, "sft is of kind sft and makes no policy", "Did you mean ${sft.model}?"),
        (("${sft.model}", "${eval-rag.run}/x"), 3, "stage eval-rag waits for itself.", None),
        (("[eval, eval-rag]", "[evl]"), 15, "stages.last.after[0] is evl, which is no stage.", "Did you mean eval?"),
        (("questions: own.jsonl", "question: own.jsonl"), 9, "there is no key question.", "Did you mean questions?"),
        (("spec: {kind: rag", "spec: {kind: rga"), 14, "there is no kind", "Did you mean rag?"),
        (("spec: specs/sft.yaml", "spec: [a]"), 11, "stages.sft.spec must be a file or a spec; it is a list.", None),
        (("spec: specs/sft.yaml", "spec: x\n    experiment: y"), 10, "stages.sft needs spec or experiment, and", None),
        (("spec: specs/sft", "sepc: specs/sft"), 11, "there is no key stages.sft.sepc.", "Did you mean spec?"),
        (("  sft:", "  a.b:"), 10, '"a.b" is no name in stages; it must be at most 40 of', None),
        (("pipeline: facts", "pipelin: facts"), 1, "there is no key pipelin.", "Did you mean pipeline?"),
        (("model.path:", "model..path:"), 6, "model..path is no key, in dots, of a spec.", None),
    ],
)
def test_a_fault_is_told_with_its_line_and_what_was_meant(
    folder: Path, change: tuple[str, str], line: int, says: str, hint: str | None
) -> None:
    error = refusal(folder, PIPELINE.replace(*change, 1))
    assert error.where == f"{folder}/pipeline.yaml:{line}"
    assert says in error.message
    assert hint is None or hint in str(error)


def test_faults_of_all_stages_are_told_at_once_and_those_of_a_shared_spec_once(folder: Path) -> None:
    (folder / "specs" / "eval.yaml").write_text(EVAL + "limt: 3\n")
    error = refusal(folder, PIPELINE.replace("kind: sim", "kind: sim, steps: none"), "sft.train.lr=fast")
    told = [f"{error.where}: {error.message}".splitlines()][0]
    assert [line.partition(": ")[0] for line in told] == [
        f"{folder}/specs/eval.yaml:4",
        "--set sft.train.lr=fast",
        f"{folder}/pipeline.yaml:15",
    ]


def test_stages_that_wait_for_each_other_are_named(folder: Path) -> None:
    circle = "pipeline: p\nstages:\n" + "".join(
        f"  {name}: {{spec: {{kind: sim}}, after: [{other}]}}\n" for name, other in ("ab", "bc", "ca", "xa")
    )
    error = refusal(folder, circle)
    ways = ("a → b → c → a", "b → c → a → b", "c → a → b → c")
    assert error.message in [f"stages wait in a circle: {way}." for way in ways]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (
            "stf.train.steps=3",
            "there is no stage stf, and no stage has a key stf.train.steps. Did you mean sft.train.st",
        ),
        ("sede=3", "no stage has a key sede. Did you mean seed?"),
        ("sft.train.stps=3", "there is no key train.stps. Did you mean steps?"),
        ("seed", "is not KEY=VALUE."),
    ],
)
def test_a_setting_that_fits_no_stage_is_refused(folder: Path, setting: str, says: str) -> None:
    error = refusal(folder, PIPELINE, setting)
    assert says in str(error) and error.where == f"--set {setting}"


def test_what_an_experiment_has_made_already_is_no_parent(folder: Path) -> None:
    pipeline = load(folder, text=PIPELINE.replace("spec: specs/sft.yaml", "experiment: sft-0007"))
    stages = by_name(pipeline)
    assert (stages["sft"].spec, stages["sft"].experiment, stages["eval-rag"].parents) == (None, "sft-0007", ("index",))
    spec = stages["eval-rag"].spec
    assert isinstance(spec, EvalSpec) and spec.model.path == "${sft-0007.model}"
    assert "sft" not in {stage.name for stage in pipeline.chosen((), ())}


@pytest.mark.parametrize(
    ("only", "skip", "left"),
    [
        ((), (), ["sft", "eval", "index", "eval-rag", "last"]),
        (("eval*",), (), ["eval", "eval-rag"]),
        ((), ("eval-rag", "last"), ["sft", "eval", "index"]),
        (("sft", "index"), ("s*",), ["index"]),
    ],
)
def test_stages_are_chosen_by_name_or_pattern(
    folder: Path, only: tuple[str, ...], skip: tuple[str, ...], left: list[str]
) -> None:
    assert [stage.name for stage in load(folder).chosen(only, skip)] == left


def test_a_choice_that_means_nothing_is_refused(folder: Path) -> None:
    pipeline = load(folder)
    with pytest.raises(InvalidInput, match="has no stage evla") as caught:
        pipeline.chosen((), ("evla",))
    assert caught.value.hint == "Did you mean eval?"
    with pytest.raises(InvalidInput, match="no stage is left"):
        pipeline.chosen(("sft",), ("sft",))


def test_a_pipeline_is_no_spec_and_says_so(folder: Path) -> None:
    assert names_pipeline(folder / "pipeline.yaml")
    assert not names_pipeline(folder / "specs" / "sft.yaml") and not names_pipeline(folder / "gone.yaml")
    with pytest.raises(InvalidInput, match="is a pipeline of several experiments, not the spec of one"):
        load_spec(folder / "pipeline.yaml")


def test_a_new_pipeline_is_valid_beside_new_specs(tmp_path: Path) -> None:
    for kind in ("sft", "rm", "ppo", "rag", "eval"):
        (tmp_path / f"{kind}.yaml").write_text(new_spec(kind))
    pipeline = load(tmp_path, text=NEW_PIPELINE)
    assert by_name(pipeline)["ppo"].parents == ("sft", "rm")
    assert by_name(pipeline)["eval-ppo-rag"].parents == ("ppo", "index")


def test_the_recipe_of_the_fact_world_goes_from_base_to_every_evaluation() -> None:
    pipeline = load_pipeline(REPOSITORY / "recipes" / "facts" / "pipeline.yaml")
    stages = by_name(pipeline)
    assert stages["ppo"].parents == ("sft", "rm", "index")
    assert isinstance(stages["ppo"].spec, PpoSpec)
    assert stages["eval-sft"].parents == ("sft",) and stages["eval-ppo"].parents == ("ppo",)
    assert stages["eval-sft-rag"].parents == ("sft", "index")
    for name, stage in stages.items():
        if name.startswith("eval"):
            assert isinstance(stage.spec, EvalSpec) and stage.spec.split == "eval"
            assert (stage.spec.passages == "index") == name.endswith("-rag")


def test_every_kind_makes_something_that_a_reference_can_name() -> None:
    assert set(MAKES) == set(Kind)
