"""The pipeline of recipes/squad over SSH, with few steps: published files in, evaluations and the report out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.evaluate.results import read_panel
from tests.cli.test_first_light import REPOSITORY, Shell

RECIPES = REPOSITORY / "recipes/squad"
EVALUATIONS = ("eval-sft", "eval-sft-rag", "eval-ppo", "eval-ppo-rag")
STAGES = ("sft", "rm", "index", "ppo", *EVALUATIONS)
FEW = (
    *("sft.train.steps=6", "sft.train.eval_every=0", "sft.train.schedule.warmup_steps=2"),
    *("rm.train.steps=6", "rm.train.eval_every=0", "rm.train.schedule.warmup_steps=2"),
    *("ppo.train.steps=2", "ppo.train.batch_size=8", "ppo.train.eval_every=0", "ppo.train.sample_prompts=2"),
    *("ppo.rollout.prompts=8", "ppo.critic.warmup_steps=0", "ppo.data.eval=null", "limit=100"),
)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path)
    yield found
    if found.database.exists():
        lifecycle.stop(found.database)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_squad_and_halueval_go_the_whole_way_over_ssh(
    shell: Shell, squad: Path, halueval: Path, tmp_path: Path
) -> None:
    shutil.copytree(RECIPES, tmp_path / "recipes/squad")
    written = shell.engine("data", "squad", str(squad), "--out", "demo/squad", "--sentences", "1", "--missing", "0.1")
    assert written.code == 0, written.err
    pairs = shell.engine("data", "halueval", str(halueval), "--out", "demo/halueval", "--json").json["rows"]
    assert pairs["preferences.jsonl"] > 3 * pairs["preferences-eval.jsonl"] > 0
    settings = [word for one in FEW for word in ("--set", one)]
    with Testbed.start(tmp_path / "ssh", nodes=2, slots=1, workdir=tmp_path / "nodes") as nodes:
        launch = shell.start(
            "launch", "recipes/squad/pipeline.yaml", "--hostfile", str(nodes.hostfile), *settings, "--wait"
        )
        _, err = launch.communicate(timeout=800)
        assert launch.returncode == 0, err
    shown = {stage: shell.engine("show", f"squad-{stage}", "--json").json for stage in STAGES}
    assert {one["state"] for one in shown.values()} == {"succeeded"}
    assert [shown[stage]["nodes"] for stage in ("sft", "rm", "ppo")] == [2, 2, 2]

    judged = shell.engine("metrics", "squad-rm", "--last", "--json").json["metrics"]
    kinds = ("correct_over_wrong", "correct_over_abstained", "abstained_over_wrong")
    assert all(0 <= judged[f"eval_accuracy/{kind}"] <= 1 for kind in kinds)
    asked = []
    for stage in EVALUATIONS:
        (made,) = [one for one in shown[stage]["artifacts"] if one["kind"] == "evaluation"]
        panel = read_panel(Path(made["path"]))
        assert panel["questions"] == 100 and set(panel["by"]) == {"answerable", "unanswerable"}
        # A question without answer is answered rightly by abstaining, which is counted by itself.
        assert panel["by"]["unanswerable"]["counts"]["correct"] == 0
        asked.append([one["id"] for one in panel["outcomes"]])
    assert asked[0] == asked[1] == asked[2] == asked[3]
    held_out = {
        row["id"] for row in map(json.loads, (tmp_path / "demo/squad/questions.jsonl").open()) if row["split"] == "eval"
    }
    assert set(asked[0]) <= held_out

    files = [word for kind in ("html", "md", "json") for word in ("-o", f"squad.{kind}")]
    assert shell.engine("report", "squad", *files).code == 0
    told = json.loads((tmp_path / "squad.json").read_text())
    assert len(told["headlines"][0]["measured"]) == len(EVALUATIONS)
    assert "unanswerable" in (tmp_path / "squad.md").read_text()
    assert (tmp_path / "squad.html").stat().st_size > 20_000
