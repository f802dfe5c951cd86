"""An evaluation that two nodes make over SSH leaves the bytes of one that one rank makes here."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.evaluate.results import ANSWERS, PANEL
from engine.report.files import answers_here, evaluation_here
from engine.store.database import Store
from tests.cli.test_first_light import Shell
from tests.evaluate.conftest import MakeSpec, rows
from tests.train.forkserver import ForkServer


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path)
    yield found
    if found.database.exists():
        lifecycle.stop(found.database)


@dataclass(frozen=True)
class Scene:
    """An evaluation for two nodes, and what one rank here makes of it."""

    shell: Shell
    nodes: Testbed
    work: Path  # of the nodes
    spec: Path
    questions: int
    here: Path

    def launch(self) -> subprocess.Popen[str]:
        return self.shell.start("launch", str(self.spec), "--hostfile", str(self.nodes.hostfile), "--wait")

    def shown(self) -> dict[str, Any]:
        """The experiment, whose evaluation has the bytes of the one made here."""
        shown: dict[str, Any] = self.shell.engine("show", "eval-0001", "--json").json
        (made,) = [artifact for artifact in shown["artifacts"] if artifact["kind"] == "evaluation"]
        assert (shown["state"], shown["nodes"]) == ("succeeded", 2)
        assert content(Path(made["path"])) == content(self.here)
        return shown


def content(folder: Path) -> tuple[bytes, bytes]:
    return (folder / ANSWERS).read_bytes(), (folder / PANEL).read_bytes()


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, server: ForkServer, make_spec: MakeSpec, shell: Shell, tmp_path: Path
) -> Iterator[Scene]:
    """The parameter says how often the same questions are asked."""
    asked = [row | {"id": f"{row['id']}-{number}"} for number in range(request.param) for row in rows()]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked))
    spec = make_spec(questions=str(questions), placement={"threads": 1, "nodes": 2, "slots": 1})
    here = server.start(spec, tmp_path / "here", world=1)
    assert here.wait() == [0], here.log()
    work = tmp_path / "nodes"
    with Testbed.start(tmp_path / "ssh", nodes=2, slots=1, workdir=work) as nodes:
        yield Scene(shell, nodes, work, spec, len(asked), tmp_path / "here" / "evaluation")


@pytest.mark.parametrize("scene", [1], indirect=True)
def test_two_nodes_answer_as_one_rank_here(scene: Scene) -> None:
    launched = scene.launch()
    _, err = launched.communicate(timeout=120)
    assert launched.returncode == 0, err
    shown = scene.shown()
    assert shown["attempts"] == 1
    # Its files came with its facts: the nodes may be gone.
    (made,) = [artifact for artifact in shown["artifacts"] if artifact["kind"] == "evaluation"]
    shutil.rmtree(made["path"])
    store = Store.open(scene.shell.database)
    folder = evaluation_here(store, "eval-0001")
    assert folder == store.runs_dir / "eval-0001" / "evaluation" and content(folder) == content(scene.here)
    assert len(answers_here(store, "eval-0001")) == scene.questions


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scene", [8], indirect=True)
def test_two_nodes_of_which_one_loses_its_rank_go_on_and_answer_as_one_rank_here(scene: Scene) -> None:
    launched = scene.launch()
    _kill_a_rank_of_node_2(scene)
    _, err = launched.communicate(timeout=400)
    assert launched.returncode == 0, err
    shown = scene.shown()
    assert shown["attempts"] == 2
    (resumed,) = [event for event in shown["events"] if event["event"] == "resumed"]
    assert 0 < resumed["step"] < scene.questions


def _kill_a_rank_of_node_2(scene: Scene) -> None:
    """Kill -9 the rank of the second node once some pieces are answered, and not all."""
    give_up = time.monotonic() + 120
    while len(list(scene.work.glob("eval-0001-*/work/answers-*/[0-9]*.json"))) < 3:
        assert time.monotonic() < give_up
        time.sleep(0.002)
    living = scene.nodes.processes(2)
    ranks = [one.pid for one in living if "engine.cli" in one.command and "agent" not in one.command]
    assert ranks
    scene.nodes.signal(2, ranks, signal.SIGKILL)
