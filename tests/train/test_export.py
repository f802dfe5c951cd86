"""The exported folder is the trained model, for plain transformers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from tests.train.conftest import EVAL_ROWS, MakeSpec
from tests.train.facts import events, largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer


def mean_loss(folder: Path, questions: list[dict[str, str]], tokenizer_folder: Path) -> float:
    """The evaluation loss, computed by plain transformers from the exported folder alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from engine.data.examples import load_examples
    from engine.spec.sections import Data

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    file = folder.parent / "questions.jsonl"
    file.write_text("".join(json.dumps(question) + "\n" for question in questions))
    total, count = 0.0, 0
    for example in load_examples(Data(train=str(file), max_length=64), tokenizer, "train"):
        ids = torch.tensor([list(example.input_ids)])
        mask = torch.tensor(list(example.loss_mask), dtype=torch.bool)[1:]
        with torch.no_grad():
            scores = model(ids).logits[0, :-1].log_softmax(-1)
        picked = scores.gather(1, ids[0, 1:, None])[:, 0][mask]
        total, count = total - float(picked.sum()), count + int(mask.sum())
    return total / count


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_plain_transformers_compute_from_it_what_the_engine_computed(
    server: ForkServer, make_spec: MakeSpec, data: Path, tmp_path: Path, stage: int
) -> None:
    job = server.start(make_spec(zero_stage=stage), tmp_path / "run", world=2)
    assert job.wait() == [0, 0], job.log()
    questions = [json.loads(line) for line in (data / "eval.jsonl").read_text().splitlines()]
    assert len(questions) == EVAL_ROWS
    (engine_loss,) = series(job.run_dir, "eval_loss").values()
    export = job.run_dir / "export"
    assert mean_loss(export, questions, export) == pytest.approx(engine_loss, abs=1e-5)
    assert {"config.json", "generation_config.json", "tokenizer.json"} <= {path.name for path in export.iterdir()}


def test_a_run_from_the_exported_folder_starts_where_it_ended_at_every_zero_stage(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    job = server.start(make_spec(zero_stage=3), tmp_path / "first", world=2)
    assert job.wait() == [0, 0], job.log()
    losses, exports = [], []
    for stage in range(4):
        spec = make_spec(model={"path": str(tmp_path / "first/export")}, zero_stage=stage, steps=2)
        job = server.start(spec, tmp_path / f"second-{stage}", world=2)
        assert job.wait() == [0, 0], job.log()
        losses.append(series(job.run_dir, "loss"))
        exports.append(weights(job.run_dir))
    for loss, exported in zip(losses, exports, strict=True):
        assert loss == pytest.approx(losses[0], rel=2e-6)
        assert largest_difference(exported, exports[0]) < 1e-4


def test_the_artifact_event_names_the_folder_and_its_hash(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    job = server.start(make_spec(), tmp_path / "run", world=1)
    assert job.wait() == [0], job.log()
    (artifact,) = events(job.run_dir, "artifact")
    folder = job.run_dir / artifact["data"]["path"]
    listing = "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(folder.iterdir())
    )
    assert artifact["data"]["kind"] == "model"
    assert artifact["data"]["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    answers = samples(job.run_dir)
    assert len(answers) == 2
    assert all(answer["prompt"].startswith("where did") and answer["reference"] for answer in answers)
