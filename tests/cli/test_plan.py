"""`engine plan`: what a run needs, and whether it fits, before anything runs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.hostfile import load_hostfile
from engine.store import experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord
from tests.cli.conftest import Engine
from tests.test_floors import HEAVY

REPOSITORY = Path(__file__).parents[2]
RECIPES, EIGHT_NODES = REPOSITORY / "recipes/13b", REPOSITORY / "hostfiles/eight-nodes.example"
RECIPE = RECIPES / "sft.yaml"
LLAMA_13B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "max_position_embeddings": 4096,
}
SPEC = """
kind: sft
model:
  architecture: {hidden_size: 64, layers: 2, heads: 2, intermediate_size: 96}
data:
  train: train.jsonl
  max_length: 64
train:
  batch_size: 4
  epochs: 3
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a 13B Llama, without its weights."""
    return write_model(tmp_path / "llama-13b", "LlamaForCausalLM")


@pytest.fixture
def reward(tmp_path: Path) -> Path:
    """The folder of a reward model of the same size."""
    return write_model(tmp_path / "reward-13b", "LlamaForSequenceClassification")


def write_model(folder: Path, architecture: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**LLAMA_13B, "architectures": [architecture]}))
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A small spec with ten rows of data."""
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "response": "b"}\n' * 10 + "\n")
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC)
    return file


@pytest.fixture
def hostfile(tmp_path: Path) -> Path:
    file = tmp_path / "hosts"
    file.write_text("worker-1 slots=4\nworker-2 slots=4\nworker-3 slots=4\n")
    return file


def test_the_13b_recipe_fits_on_eight_nodes(engine: Engine, model: Path) -> None:
    assert engine("validate", str(RECIPE)).code == 0
    where = ("--hostfile", str(EIGHT_NODES), "--set", f"model.path={model}")
    result = engine("plan", str(RECIPE), *where, "--json")
    assert result.code == 0
    document: dict[str, Any] = result.json
    assert document["fits"] and document["errors"] == []
    size = 13_015_864_320
    assert document["model"] == {"family": "llama", "parameters": size, "trainable": size, "exact": True}
    assert document["ranks"] == 64 and document["zero_stage"] == document["suggestion"]["zero_stage"] == 2
    assert list(document["per_gpu"]) == [
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "generation",
        "other",
        "total",
        "capacity",
    ]
    *parts, total, capacity = document["per_gpu"].values()
    assert sum(parts) == total < capacity == 80 * 10**9
    assert document["batch"]["idle_ranks"] == 0 and document["batch"]["micro_steps"] == 2
    assert document["seconds_at_most"] is None, "no throughput was measured"
    text = engine("plan", str(RECIPE), *where)
    assert text.code == 0 and "13,015,864,320 parameters" in text.out and "8 nodes, 64 ranks" in text.out


def test_the_13b_recipe_of_a_reward_model_fits_on_eight_nodes(engine: Engine, model: Path) -> None:
    assert engine("validate", str(RECIPES / "rm.yaml")).code == 0
    where = ("--hostfile", str(EIGHT_NODES), "--set", f"model.path={model}")
    document = engine("plan", str(RECIPES / "rm.yaml"), *where, "--json").json
    assert document["fits"] and document["kind"] == "rm"
    assert document["zero_stage"] == document["suggestion"]["zero_stage"] == 2
    assert document["model"]["parameters"] == 13_015_864_320 - 32000 * 5120 + 5120, "a scalar head for the logits"
    assert document["batch"]["tokens_per_step"] == 128 * 2 * 1024
    assert document["warnings"] == [warning for warning in document["warnings"] if "preferences.jsonl" in warning]


def test_the_13b_recipe_of_ppo_fits_on_eight_nodes(engine: Engine, model: Path, reward: Path) -> None:
    file = RECIPES / "ppo.yaml"
    assert engine("validate", str(file)).code == 0
    paths = {"model.path": model, "critic.path": reward, "rewards.preference.path": reward}
    sets = [word for key, path in paths.items() for word in ("--set", f"{key}={path}")]
    document = engine("plan", str(file), "--hostfile", str(EIGHT_NODES), *sets, "--json").json
    assert document["fits"] and document["errors"] == []
    assert document["warnings"] == [warning for warning in document["warnings"] if "prompts.jsonl" in warning]
    parts = {part["name"]: part for part in document["parts"]}
    assert list(parts) == ["policy", "critic", "reference", "rewards.preference"]
    for name, stage in (("policy", 2), ("critic", 2), ("reference", 3), ("rewards.preference", 3)):
        assert parts[name]["zero_stage"] == parts[name]["suggestion"]["zero_stage"] == stage
        assert "; ZeRO " in parts[name]["suggestion"]["reason"], "it says why not less"
    assert document["phases"][document["peak"]] == max(document["phases"].values()) == document["per_gpu"]["total"]
    totals = [part["per_gpu"]["total"] for part in parts.values()]
    assert sum(totals) + document["overhead"] == document["per_gpu"]["total"]
    assert document["per_gpu"]["generation"] > 16 * 512 * 40 * 2 * 5120 * 2, "the cache of 16 sequences of 512 tokens"
    assert document["rollout"]["optimizer_steps"] == 8 and document["rollout"]["idle_ranks"] == 0
    text = engine("plan", str(file), "--hostfile", str(EIGHT_NODES), *sets)
    assert text.code == 0 and "the peak is to generate (policy)" in text.out
    assert "rewards.preference  llama, 12,852,029,440 parameters" in text.out


def test_the_13b_recipe_of_adapters_over_one_base_fits_on_one_node(
    engine: Engine, model: Path, reward: Path, tmp_path: Path
) -> None:
    (tmp_path / "one").write_text("worker-1 slots=8\n")
    file = RECIPES / "ppo-lora.yaml"
    assert engine("validate", str(file)).code == 0
    sets = ("--set", f"model.path={model}", "--set", f"rewards.preference.path={reward}")
    document = engine("plan", str(file), "--hostfile", str(tmp_path / "one"), *sets, "--json").json
    assert document["fits"] and [part["name"] for part in document["parts"]] == [
        "policy",
        "critic",
        "rewards.preference",
    ]
    policy, critic, _ = document["parts"]
    assert policy["trainable"] == 16 * 40 * (4 * 2 * 5120 + 3 * (5120 + 13824))
    assert critic["trainable"] == policy["trainable"] + 5120
    assert critic["per_gpu"]["weights"] == 2 * critic["trainable"], "its base is the policy's"
    assert document["warnings"] == [warning for warning in document["warnings"] if "prompts.jsonl" in warning]


def test_pairs_are_counted_where_a_row_is_one(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "rm.yaml"
    file.write_text(SPEC.replace("kind: sft", "kind: rm"))
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    (tmp_path / "train.jsonl").write_text((json.dumps(row) + "\n") * 10)
    assert engine("plan", str(file), "--json").json["batch"]["rows"] == 10
    ranked = {"prompt": "a", "answers": ["b", "c", "d"], "ranks": [1, 2, 3]}
    (tmp_path / "train.jsonl").write_text((json.dumps(ranked) + "\n") * 10)
    document = engine("plan", str(file), "--json").json
    assert document["batch"]["rows"] is None
    assert any("Pairs are made of the rows" in warning for warning in document["warnings"])


def test_what_does_not_fit_ends_with_4_and_says_what_would(engine: Engine, model: Path) -> None:
    arguments = ("plan", str(RECIPE), "--hostfile", str(EIGHT_NODES), "--set", f"model.path={model}")
    result = engine(*arguments, "--gpu-memory", "24GB", "--json")
    assert result.code == 4 and not result.json["fits"]
    (sentence,) = result.json["errors"]
    stage = result.json["suggestion"]["zero_stage"]
    assert f"train.zero_stage={stage}" in sentence and "24.0 GB" in sentence
    mended = engine(*arguments, "--gpu-memory", "24GB", "--set", f"train.zero_stage={stage}", "--json")
    assert mended.code == 0 and mended.json["per_gpu"]["total"] == result.json["suggestion"]["total"]
    hopeless = engine(*arguments, "--gpu-memory", "4GB")
    assert hopeless.code == 4 and "no ZeRO stage fits" in hopeless.err and "per GPU" in hopeless.out


def test_rows_and_steps_are_counted_on_this_machine(engine: Engine, spec: Path) -> None:
    document = engine("plan", str(spec), "--json").json
    assert document["on_cpu"] and document["batch"]["rows"] == 10 and document["batch"]["steps"] == 8
    assert document["batch"]["tokens_at_most"] == 8 * 4 * 64
    (spec.parent / "train.jsonl").unlink()
    unknown = engine("plan", str(spec), "--json").json
    assert unknown["batch"]["steps"] is None
    assert any("train.jsonl is not on this machine" in warning for warning in unknown["warnings"])


def test_batches_that_leave_ranks_without_rows_are_warned_of(engine: Engine, spec: Path, hostfile: Path) -> None:
    document = engine("plan", str(spec), "--hostfile", str(hostfile), "--json").json
    assert document["ranks"] == 12 and document["batch"]["idle_ranks"] == 8
    assert any("8 of 12 ranks have no rows" in warning for warning in document["warnings"])
    uneven = engine("plan", str(spec), "--hostfile", str(hostfile), "--set", "train.batch_size=20", "--json").json
    assert any("does not divide by 12 ranks" in warning and "24 rows" in warning for warning in uneven["warnings"])


def test_time_comes_from_what_was_measured_only(engine: Engine, spec: Path, filled: Path) -> None:
    given = engine("plan", str(spec), "--tokens-per-second", "256", "--json").json
    assert given["seconds_at_most"] == 8 * 4 * 64 / 256
    without = engine("plan", str(spec), "--like", "first")
    assert without.code == 3 and "tokens_per_second" in without.err
    store = Store.open(filled)
    second = experiments.resolve(store, "second")
    points = tuple(
        MetricsRecord(1_700_000_000.0 + step, 1, step, {"tokens_per_second": speed})
        for step, speed in enumerate((1.0, 512.0, 512.0, float("nan")), 1)
    )
    assert facts.ingest(store, second, "metrics.jsonl", Chunk(points, 100, (), False), 0)
    store.close()
    assert engine("plan", str(spec), "--like", "second", "--json").json["seconds_at_most"] == 8 * 4 * 64 / 512
    assert engine("plan", str(spec), "--like", "second", "--tokens-per-second", "9").code == 2


@pytest.mark.parametrize("placement", ["{}", "{nodes: 2}", "{slots: 2}", "{nodes: 1, slots: 3}"])
def test_the_printed_commands_start_the_same_ranks(engine: Engine, spec: Path, hostfile: Path, placement: str) -> None:
    from deepspeed.launcher import runner
    from torch.distributed.run import get_args_parser

    arguments = ("plan", str(spec), "--hostfile", str(hostfile), "--set", f"placement={placement}", "--json")
    document = engine(*arguments).json
    job = ["train", str(spec), "--run-dir", "run", "--set", f"placement={placement}"]

    program, *words = shlex.split(document["commands"]["deepspeed"])
    parsed = runner.parse_args(words)
    hosts = runner.fetch_hostfile(parsed.hostfile)
    assert dict(hosts) == {node.host: node.slots for node in load_hostfile(hostfile).nodes}
    active = runner.parse_inclusion_exclusion(hosts, parsed.include, parsed.exclude)
    active = runner.apply_num_nodes_and_gpus(active, parsed.num_nodes, parsed.num_gpus)
    assert program == "deepspeed" and parsed.module and parsed.no_local_rank
    assert sum(map(len, active.values())) == document["ranks"] and len(active) == document["nodes"]
    assert [parsed.user_script, *parsed.user_args] == ["engine.cli", *job]

    program, *words = shlex.split(document["commands"]["torchrun"])
    own = get_args_parser().parse_args(words)
    assert program == "torchrun" and own.module
    assert int(own.nnodes.partition(":")[0]) * int(own.nproc_per_node) == document["ranks"]
    assert [own.training_script, *own.training_script_args] == ["engine.cli", *job]


def test_an_evaluation_is_planned_for_the_model_that_each_rank_loads(
    engine: Engine, model: Path, hostfile: Path, tmp_path: Path
) -> None:
    file = tmp_path / "eval.yaml"
    (tmp_path / "questions.jsonl").write_text('{"id": "a", "question": "b"}\n' * 30)
    file.write_text("kind: eval\nmodel: {path: llama-13b, precision: bf16}\nquestions: questions.jsonl\n")
    page = engine("plan", str(file), "--hostfile", str(hostfile))
    assert page.code == 0 and "3 nodes, 12 ranks" in page.out and "16 at once a rank" in page.out
    document = engine("plan", str(file), "--json", "--gpu-memory", "80GB", "--tokens-per-second", "64").json
    parts = {name: bytes_ for name, bytes_ in document["per_gpu"].items() if name not in ("total", "capacity")}
    assert document["fits"] and document["per_gpu"]["total"] == sum(parts.values()) > 26_000_000_000
    assert document["answers_at_most"] == 30 and document["seconds_at_most"] == 30
    refused = engine("plan", str(file), "--gpu-memory", "24GB")
    assert refused.code == 4 and "each rank has a whole model" in refused.err


def test_what_cannot_be_planned_gets_one_sentence(
    engine: Engine, spec: Path, hostfile: Path, model: Path, tmp_path: Path
) -> None:
    simulated = tmp_path / "sim.yaml"
    engine("new", "sim", "-o", str(simulated))
    assert engine("plan", str(simulated)).code == 4
    absent = engine("plan", str(RECIPE), "--set", f"model.path={tmp_path}/nowhere")
    assert absent.code == 4 and "config.json" in absent.err and "nowhere" in absent.err
    (model / "config.json").write_text('{"model_type": "llama", "hidden_size": 1e99}')
    hostile = engine("plan", str(RECIPE), "--set", f"model.path={model}")
    assert hostile.code == 2 and "hidden_size" in hostile.err
    assert engine("plan", str(spec), "--gpu-memory", "much").code == 2
    assert engine("plan", str(spec), "--hostfile", str(tmp_path / "nowhere")).code == 2
    crowded = engine("plan", str(spec), "--hostfile", str(hostfile), "--set", "placement.nodes=9")
    assert crowded.code == 4 and "the hostfile has 3" in crowded.err


def test_planning_imports_nothing_that_computes(spec: Path) -> None:
    script = (
        "import sys\nfrom engine.cli.__main__ import main\n"
        f"try: main(['plan', {str(spec)!r}, '--quiet'])\n"
        "except SystemExit as end: code = end.code\n"
        "print(code, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    code, *imported = done.stderr.split()
    assert code == "0" and not set(imported) & set(HEAVY)
