"""`engine eval`, dispatched: from `engine launch` to figures, answers and the artifact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dispatch import lifecycle
from engine.evaluate import main
from engine.evaluate.results import read_panel
from engine.spec.loading import load_spec
from tests.cli.conftest import Engine
from tests.evaluate.table_model import make_model


@pytest.fixture
def spec(tmp_path: Path, database: Path) -> Iterator[Path]:
    """A spec with three questions, of which one is answered right, one wrong and one not."""
    make_model(tmp_path / "model", {"a": {"Ono": 1.0}, "b": {"Zelt": 1.0}, "c": {"unknown": 1.0}})
    rows = [{"id": name, "question": name, "answer": "Ono", "group": "g"} for name in "abc"]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "eval.yaml"
    keys = {"kind": "eval", "model": {"path": "model"}, "questions": "questions.jsonl", "placement": {"threads": 1}}
    file.write_text(json.dumps(keys))
    yield file
    lifecycle.stop(database)


def test_an_evaluation_is_launched_and_its_figures_answers_and_artifact_come_back(
    engine: Engine, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = engine("launch", str(spec), "--wait", "--json")
    assert launched.code == 0, launched.err
    (row,) = launched.json
    shown = engine("show", row["id"], "--json").json
    assert row["id"] == "eval-0001" and shown["state"] == "succeeded"
    (made,) = shown["artifacts"]
    assert made["kind"] == "evaluation"
    assert read_panel(Path(made["path"]))["counts"] == {
        "correct": 1,
        "abstained": 1,
        "hallucinated": 1,
        "undetermined": 0,
    }
    last = engine("metrics", row["id"], "--last", "--json").json["metrics"]
    assert last["hallucinated"] == last["hallucinated/g"] == pytest.approx(1 / 3) and last["score"] == 0
    told = engine("samples", row["id"], "--json").json
    assert [one["response"] for one in told] == ["Ono", "Zelt", "unknown"]
    log = engine("logs", row["id"]).out
    assert "question 3/3" in log and "0.333 [" in log and "failures  fabrication 1, over refusal 1" in log

    folder = Path(made["path"])
    monkeypatch.setattr(main, "evaluate", lambda file, *_: _[-1](load_spec(file), folder))
    document = engine("eval", str(spec), "--json").json
    rates = {"examples": 3, "correct": 1 / 3, "abstained": 1 / 3, "hallucinated": 1 / 3, "score": 0.0}
    for part in (document, document["by"]["g"]):
        assert {name: part[name] for name in rates} == pytest.approx(rates)
    assert document["evaluation"] == str(folder) and document["intervals"]["correct"] == [0.0, 1.0]
