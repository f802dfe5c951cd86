"""An evaluation with real processes: whole or cut off, by one rank or several, it leaves the same bytes."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ExitCode
from engine.evaluate.results import ANSWERS, PANEL, read_answers, read_panel
from tests.evaluate.conftest import PEOPLE, MakeSpec, rows
from tests.evaluate.fifty import FIFTY, FIGURES
from tests.evaluate.table_model import END, make_model
from tests.train.facts import events, samples, series
from tests.train.forkserver import ForkServer


def evaluated(server: ForkServer, spec: Path, run_dir: Path, **how: Any) -> Path:
    """Evaluate to the end; return the folder with the result."""
    job = server.start(spec, run_dir, **{"world": 1, **how})
    assert job.wait() == [0] * how.get("world", 1), job.log()
    return run_dir / "evaluation"


def content(folder: Path) -> tuple[bytes, bytes]:
    """What must be the same, whoever has made it."""
    return (folder / ANSWERS).read_bytes(), (folder / PANEL).read_bytes()


@pytest.fixture(scope="module")
def whole(server: ForkServer, make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that one rank made without a break."""
    return evaluated(server, make_spec(), tmp_path_factory.mktemp("whole"))


def test_fifty_answers_of_a_model_have_the_figures_counted_by_hand(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    with FIFTY.open(encoding="utf-8", newline="") as lines:
        fifty = list(csv.DictReader(lines, delimiter="\t"))
    make_model(tmp_path / "model", {row["question"]: {row["response"] or END: 1.0} for row in fifty})
    asked = [
        {
            **{key: row[key] for key in ("id", "group", "question")},
            "answers": json.loads(row["answers"]),
            "answerable": {"true": True, "false": False, "": None}[row["answerable"]],
        }
        for row in fifty
    ]
    (tmp_path / "fifty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    spec = make_spec(
        model={"path": str(tmp_path / "model")},
        questions=str(tmp_path / "fifty.jsonl"),
        passages="none",
        corpus=None,
        answers={"max_response_length": 2},
    )
    folder = evaluated(server, spec, tmp_path / "run")
    answers, panel = list(read_answers(folder)), read_panel(folder)
    assert [(row["id"], row["outcome"]) for row in answers] == [(row["id"], row["outcome"]) for row in fifty]
    assert [row["response"] for row in answers] == [row["response"].strip() for row in fifty]
    assert panel["counts"] == {"correct": 14, "abstained": 18, "hallucinated": 17, "undetermined": 1}
    values = {name: figure["value"] for name, figure in panel["figures"].items()}
    assert values == pytest.approx(FIGURES)
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in panel["figures"].values())
    assert panel["by"]["known"]["figures"]["correct"]["value"] == 12 / 20
    assert panel["by"]["unknown"]["counts"]["hallucinated"] == 9
    assert panel["causes"]["over_refusal"] == 12 and panel["causes"]["answered_unanswerable"] == 3


def test_another_seed_draws_other_answers_and_the_likeliest_stay(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, whole: Path
) -> None:
    other = evaluated(server, make_spec(seed=6), tmp_path / "other")
    pairs = list(zip(read_answers(whole), read_answers(other), strict=True))
    assert all(row["response"] == again["response"] for row, again in pairs)
    assert any(row["samples"] != again["samples"] for row, again in pairs)


@pytest.mark.parametrize("apart", [False, True], ids=["shared", "apart"])
def test_two_ranks_answer_as_one_does_whether_they_share_a_folder_or_not(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, whole: Path, apart: bool
) -> None:
    folder = evaluated(server, make_spec(), tmp_path / "run", world=2, apart=apart)
    assert content(folder) == content(whole)
    assert not list(tmp_path.rglob("work"))


@pytest.mark.parametrize("moment", [2, 11, 26])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, whole: Path, moment: int
) -> None:
    _killed_and_resumed(server, make_spec(), tmp_path / "run", whole, moment)


@pytest.mark.cluster
@pytest.mark.parametrize("moment", range(1, 45))
def test_killed_at_each_moment_it_goes_on_to_the_same_bytes(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, whole: Path, moment: int
) -> None:
    _killed_and_resumed(server, make_spec(), tmp_path / "run", whole, moment)


def _killed_and_resumed(server: ForkServer, spec: Path, run_dir: Path, whole: Path, moment: int) -> None:
    """Kill it before the `moment`-th time that it writes something that must last; let it go on."""
    job = server.start(spec, run_dir, world=1, dies={0: moment})
    (code,) = job.wait()
    assert code in (0, -signal.SIGKILL) and (code or moment > 20), job.log()
    kept = len(list(run_dir.glob("work/answers-*/[0-9]*.json")))
    assert content(evaluated(server, spec, run_dir)) == content(whole)
    resumed = events(run_dir, "resumed")
    assert [event["step"] for event in resumed] == ([min(4 * kept, len(PEOPLE))] if kept else [])


def test_ranks_with_folders_of_their_own_go_on_with_what_each_has_kept(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, whole: Path
) -> None:
    spec, run_dir = make_spec(), tmp_path / "run"
    job = server.start(spec, run_dir, world=2, apart=True)
    wanted = random.Random(3).randint(2, 6)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("work/answers-*/[0-9]*.json"))) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for pid in job.pids:
        os.kill(pid, signal.SIGKILL)
    job.wait()
    # What rank 0 has lost, rank 1 still has.
    own = {path.name for path in run_dir.glob("apart-1/work/answers-*/[0-9]*.json")}
    for path in run_dir.glob("work/answers-*/[0-9]*.json"):
        if path.name in own:
            path.unlink()
    assert content(evaluated(server, spec, run_dir, world=2, apart=True)) == content(whole)


def test_a_signal_stops_it_and_the_next_attempt_goes_on(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, whole: Path
) -> None:
    spec, run_dir = make_spec(), tmp_path / "run"
    job = server.start(spec, run_dir, world=1)
    deadline = time.monotonic() + 60
    while not list(run_dir.glob("work/answers-*/[0-9]*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(job.pids[0], signal.SIGTERM)
    (code,) = job.wait()
    assert code in (0, ExitCode.INTERRUPTED), job.log()
    if code:
        assert events(run_dir, "stopped")
    assert content(evaluated(server, spec, run_dir)) == content(whole)


def test_what_was_answered_before_an_input_changed_is_not_mixed_with_what_comes_after(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    spec, run_dir = make_spec(questions=str(questions)), tmp_path / "run"
    server.start(spec, run_dir, world=1, dies={0: 20}).wait()
    assert list(run_dir.glob("work/answers-*/[0-9]*.json"))
    questions.write_text("".join(json.dumps(row | {"answers": ["Ono"]}) + "\n" for row in rows()))
    folder = evaluated(server, spec, run_dir)
    assert not events(run_dir, "resumed")
    assert all(row["answers"] == ["Ono"] for row in read_answers(folder))
    answerable = [row for row in read_answers(folder) if row["answerable"]]
    assert all((row["outcome"] == "correct") == (row["response"] == "Ono") for row in answerable)


def test_its_facts_tell_figures_as_they_come_answers_and_the_artifact(whole: Path) -> None:
    run_dir, panel = whole.parent, read_panel(whole)
    correct = series(run_dir, "correct")
    assert list(correct) == [*range(4, len(PEOPLE), 4), len(PEOPLE)]
    for name in ("correct", "abstained", "hallucinated", "score", "groundedness", "hit"):
        assert series(run_dir, name)[len(PEOPLE)] == pytest.approx(panel["figures"][name]["value"])
    assert series(run_dir, "calibration_error")[len(PEOPLE)] == pytest.approx(panel["calibration"]["ece"])
    calibration, counts = panel["calibration"], panel["counts"]
    assert calibration["answers"] == counts["correct"] + counts["hallucinated"]
    assert sum(one["answers"] for one in calibration["reliability"]) == calibration["answers"]
    assert calibration["risk_coverage"][-1]["coverage"] == 1.0
    assert calibration["risk_coverage"][-1]["risk"] == counts["hallucinated"] / calibration["answers"]
    near = series(run_dir, "hallucinated/near")[len(PEOPLE)]
    assert near == pytest.approx(panel["by"]["near"]["figures"]["hallucinated"]["value"])
    shown = samples(run_dir)
    assert [one["response"] for one in shown] == [row["response"] for row in read_answers(whole)][:3]
    assert shown[1]["prompt"] == "person 1 lives in Zelt.\nWhere does person 1 live?"
    assert shown[1]["reference"] == "Zelt" and shown[1]["scores"]["hallucinated"] == 1.0
    (made,) = events(run_dir, "artifact")
    assert (made["data"]["kind"], made["data"]["path"]) == ("evaluation", "evaluation")
    told = json.loads((whole / "plumbline.json").read_text())
    assert told["kind"] == "evaluation" and told["step"] == len(PEOPLE)
    assert told["parents"]["model.path"]["sha256"] and told["data"]["questions"]["sha256"]
    assert str(run_dir.parent) not in (whole / PANEL).read_text() + (whole / ANSWERS).read_text()
