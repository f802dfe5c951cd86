"""`engine demo`: what a newcomer sees first, with a shorter recipe."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cli import demo
from engine.cli.settings import Settings
from engine.dispatch import lifecycle
from engine.spec.pipeline import load_pipeline
from engine.spec.resolve import is_reference, paths_by_key
from tests.evaluate.table_model import make_model
from tests.tui.terminal import Terminal

REPOSITORY = Path(__file__).resolve().parents[2]


def short_recipe(folder: Path) -> Path:
    """Write a pipeline of the demo's first stage with few steps, and of its evaluation."""
    recipes = REPOSITORY / "recipes/facts"
    path = folder / "short.yaml"
    path.write_text(
        f"""
pipeline: short
stages:
  sft:
    spec: {recipes / "sft.yaml"}
    set: {{train.steps: 40, train.eval_every: 20, train.schedule.warmup_steps: 4}}
  eval-sft:
    spec: {recipes / "eval.yaml"}
    set: {{model.path: "${{sft.model}}", limit: 60}}
"""
    )
    return path


def test_without_a_terminal_it_runs_a_pipeline_on_two_ssh_nodes_writes_its_report_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "demo", "--folder", str(folder), "--recipe", str(short_recipe(tmp_path))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "ENGINE_DB"},
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "Started 2 OpenSSH nodes on loopback" in done.stdout
    assert "Launched short/1: 2 stages on node-1, node-2." in done.stdout
    assert "HALLUCINATED" in done.stdout and "The report: " in done.stdout
    told = json.loads((folder / "report.json").read_text())
    (row,) = told["headlines"][0]["measured"]
    shares = [row["part"]["figures"][name]["value"] for name in ("correct", "abstained", "hallucinated")]
    assert sum(shares) == pytest.approx(1.0)
    assert (folder / "report.html").stat().st_size > 10_000
    until_nothing_runs(folder)


def until_nothing_runs(folder: Path) -> None:
    """Wait until dispatcher and nodes of a demo have left."""
    give_up = time.monotonic() + 60
    while lifecycle.status(folder / "experiments.db").running or cluster_processes(folder):
        assert time.monotonic() < give_up
        time.sleep(0.2)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    assert shutil.which("tmux"), "this test needs tmux: apt install tmux"
    found = Terminal(REPOSITORY, 110, 40)
    yield found
    found.stop()


def start(terminal: Terminal, folder: Path, recipe: Path) -> None:
    """Begin a demo in the terminal, and wait until the UI shows its runs."""
    arguments = ["--folder", str(folder), "--recipe", str(recipe), "--nodes", "1"]
    terminal.start(f"{shlex.join([sys.executable, '-m', 'engine.cli', 'demo', *arguments])}; echo left with $?; cat")
    terminal.wait_for("? help", "-0001")


@pytest.mark.timeout(280)
def test_on_a_terminal_it_goes_on_to_wait_when_the_ui_is_left_and_ends_with_table_and_report(
    terminal: Terminal, tmp_path: Path
) -> None:
    folder, recipe = tmp_path / "demo", tmp_path / "ready.yaml"
    make_model(tmp_path / "model", {"Where?": {"Ono": 1.0}})
    (tmp_path / "questions.jsonl").write_text('{"question": "Where?", "answer": "Ono"}\n' * 20)
    spec = {"kind": "eval", "model": {"path": str(tmp_path / "model")}, "questions": str(tmp_path / "questions.jsonl")}
    recipe.write_text(json.dumps({"pipeline": "ready", "stages": {"eval": {"spec": spec}}}))
    start(terminal, folder, recipe)
    terminal.press("q")
    terminal.wait_for("What runs goes on, and this waits for it.")
    terminal.wait_for("HALLUCINATED", "The report: ", "left with 0", seconds=120)
    assert (folder / "report.html").stat().st_size > 10_000
    until_nothing_runs(folder)


@pytest.mark.timeout(280)
def test_on_a_terminal_ctrl_c_leaves_the_waiting_and_what_runs_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    folder, recipe = tmp_path / "demo", tmp_path / "long.yaml"
    recipe.write_text("pipeline: long\nstages: {pretend: {spec: {kind: sim, steps: 4000, step_seconds: 0.05}}}\n")
    start(terminal, folder, recipe)
    terminal.press("q")
    terminal.wait_for("this waits for it", "running")
    terminal.press("C-c")
    terminal.wait_for("The runs go on. To see them again: engine watch long/1 --db", "left with 130")
    database = ["--db", str(folder / "experiments.db")]
    subprocess.run([sys.executable, "-m", "engine.cli", "stop", "long", "--now", *database], check=True, timeout=60)
    until_nothing_runs(folder)


def cluster_processes(folder: Path) -> list[str]:
    """Return the command lines of what is left of the demo's cluster."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "demo-cluster" in line and str(folder) in line:
            found.append(line)
    return found


def test_without_sshd_it_says_how_to_install_it_and_uses_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.cluster.testbed.sshd_path", lambda: None)
    text, hostfile = demo._cluster(Settings(db=tmp_path / "x.db"), tmp_path, 2)
    assert (text, hostfile) == ("localhost slots=2\n", None)
    (line,) = capsys.readouterr().out.splitlines()
    assert "without SSH" in line and "openssh-server" in line


def test_every_file_of_the_fact_world_that_the_pipeline_names_is_looked_for_in_the_demos_folder(
    tmp_path: Path,
) -> None:
    recipe = REPOSITORY / "recipes/facts/pipeline.yaml"
    pipeline = load_pipeline(recipe, ["seed=3", *demo._with_facts(recipe, tmp_path / "facts")])
    for stage in pipeline.stages:
        assert stage.spec is not None and stage.spec.seed == 3
        paths = [Path(path) for path in paths_by_key(stage.spec).values() if not is_reference(path)]
        assert paths and all(path.parent == tmp_path / "facts" for path in paths)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli.__main__ import main

    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--recipe", str(tmp_path / "no.yaml"), "--folder", str(tmp_path / "demo"), "--json"])
    assert exit_.value.code == 3
    assert json.loads(capsys.readouterr().out)["error"]["where"] == str(tmp_path / "no.yaml")
